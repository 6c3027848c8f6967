"""Putting what was found by meaning and by words in one order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from app.domain.search import Ranked

WORDS_WEIGHT = 0.7
"""Of the fused score; the rest is the meaning's. From 0.6 to 0.8 the measured collections differ by a hundredth."""


STEPS = (50, 250, 1_000, 4_000)
"""How many hits of each side are fused first, then, and so on."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one side found: by id, in its order."""

    ranked: Mapping[str, Ranked]
    certain: frozenset[str] = frozenset()

    @classmethod
    def of(cls, scores: Iterable[tuple[str, float]], certain: Iterable[str] = ()) -> "Side":
        """From ids with their scores, best first."""
        ranked = {id_: Ranked(rank, score) for rank, (id_, score) in enumerate(scores, 1)}
        return cls(ranked, frozenset(certain))

    def first(self, count: int) -> "Side":
        """What it would have found if it had been asked for so many."""
        return Side(dict(islice(self.ranked.items(), count)), self.certain)


def fuse_in_steps(
    meaning: Side, words: Side, shares: Mapping[str, float], unrelated: float, *, depth: int
) -> list[tuple[str, float]]:
    """As :func:`fuse`, in an order that doesn't depend on ``depth``, how many hits each side was asked for.

    The deeper, the more is known of each score, and pages cut from differing orders would repeat
    hits and miss others. So the first 50 are those of the first 50 of each side, the next 200 those
    of its first 250, and so on.
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

    Both scores become comparable without a look at the others of the list: the words' is a share of
    what is possible, from 0 to 1, and the cosine is measured from ``unrelated``, what the embedder
    gives two texts that have nothing to do with each other, to 1. What the meaning hasn't found
    scores as its last one does, which is the most it can have. ``shares`` has the words' scores of
    what only the meaning has found. An extraction that has the query's identifier comes before all
    that haven't.
    """
    lowest = min((each.score for each in meaning.ranked.values()), default=unrelated)
    scale = max(1.0 - unrelated, 1e-6)

    def score(id_: str) -> float:
        by_words = words.ranked[id_].score if id_ in words.ranked else shares.get(id_, 0.0)
        cosine = meaning.ranked[id_].score if id_ in meaning.ranked else lowest
        by_meaning = min(max((cosine - unrelated) / scale, 0.0), 1.0)
        return WORDS_WEIGHT * by_words + (1 - WORDS_WEIGHT) * by_meaning

    scores = {id_: score(id_) for id_ in {**words.ranked, **meaning.ranked}}
    return sorted(scores.items(), key=lambda each: (each[0] not in words.certain, -each[1], each[0]))
