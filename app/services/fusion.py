"""Fuse the hits found by meaning and by words into one order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from app.domain.search import Ranked

WORDS_WEIGHT = 0.7
"""The words' share of the fused score; the rest is the meaning's.

From 0.6 to 0.8, quality on the measured collections differs by a hundredth.
"""


STEPS = (50, 250, 1_000, 4_000)
"""How many hits of each side are fused in the first step, the second, and so on."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one side found: hits by id, best first."""

    ranked: Mapping[str, Ranked]
    certain: frozenset[str] = frozenset()

    @classmethod
    def of(cls, scores: Iterable[tuple[str, float]], certain: Iterable[str] = ()) -> "Side":
        """Build a side from ids with their scores, best first."""
        ranked = {id_: Ranked(rank, score) for rank, (id_, score) in enumerate(scores, 1)}
        return cls(ranked, frozenset(certain))

    def first(self, count: int) -> "Side":
        """What the side would have found if it had been asked for ``count`` hits."""
        return Side(dict(islice(self.ranked.items(), count)), self.certain)


def fuse_in_steps(
    meaning: Side, words: Side, shares: Mapping[str, float], unrelated: float, *, depth: int
) -> list[tuple[str, float]]:
    """Like :func:`fuse`, in an order that doesn't depend on ``depth``, the hits asked of each side.

    More hits change the fused scores, and pages cut from different orders would repeat some hits
    and miss others. So the first 50 come from the first 50 hits of each side, the next 200 from its
    first 250, and so on.
    """
    shares = {**shares, **{id_: each.score for id_, each in words.ranked.items()}}
    most = max(len(meaning.ranked), len(words.ranked))
    ordered = dict[str, float]()
    for step in STEPS:
        if step > depth:
            break
        fused = fuse(meaning.first(step), words.first(step), shares, unrelated)
        left = [each for each in fused if each[0] not in ordered]
        ordered |= dict(left if most < step else left[: step - len(ordered)])
        if most < step:
            break
    return list(ordered.items())


def fuse(meaning: Side, words: Side, shares: Mapping[str, float], unrelated: float) -> list[tuple[str, float]]:
    """All ids with their fused scores, best first.

    Both scores are absolute, independent of the other hits: the words' score is a share of the
    possible maximum, from 0 to 1, and the cosine is scaled from ``unrelated``, the embedder's score
    of two unrelated texts, to 1. An extraction that the meaning side didn't find gets the lowest
    score of those it found, which is the most it can have. ``shares`` has the word scores of hits
    found only by meaning. Extractions that contain the query's identifier come before all others.
    """
    lowest = min((each.score for each in meaning.ranked.values()), default=unrelated)
    scale = max(1.0 - unrelated, 1e-6)

    # No score may depend on the other hits' scores, except `lowest`: docs/decisions/fusion.md
    def score(id_: str) -> float:
        by_words = words.ranked[id_].score if id_ in words.ranked else shares.get(id_, 0.0)
        cosine = meaning.ranked[id_].score if id_ in meaning.ranked else lowest
        by_meaning = min(max((cosine - unrelated) / scale, 0.0), 1.0)
        return WORDS_WEIGHT * by_words + (1 - WORDS_WEIGHT) * by_meaning

    scores = {id_: score(id_) for id_ in {**words.ranked, **meaning.ranked}}
    return sorted(scores.items(), key=lambda each: (each[0] not in words.certain, -each[1], each[0]))
