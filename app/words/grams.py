"""The terms of scripts without spaces between words: pairs of adjacent characters."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from app.words.folding import fold, marks_class, normal

_MOST_ATTACHED = 8


SINGLE_WEIGHT: Final = 0.3
"""The weight in a query of a single Han character, beside the pairs that it is in."""
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")


class Gram(NamedTuple):
    """Two adjacent characters with their marks, or one, with the place in the run and weight."""

    text: str
    start: int
    end: int
    weight: float


def grams(run: str) -> list[Gram]:
    """Return the pairs of adjacent characters in a run, or its only one, then each Han character.

    The run is of an unspaced script. A single Han character is often a word, which pairs wouldn't
    find inside a longer run.
    """
    written, places = normal(run)
    spans = [found.span() for found in _clusters().finditer(written)]
    texts = [_folded(written[start:end]) for start, end in spans]
    if places is not None:
        spans = [(places[start][0], places[end - 1][1]) for start, end in spans]
    if len(texts) == 1:
        return [Gram(texts[0], *spans[0], 1.0)] if texts[0] else []
    neighbours = pairwise(zip(texts, spans, strict=True))
    pairs = [Gram(one + other, first[0], second[1], 1.0) for (one, first), (other, second) in neighbours]
    singles = [
        Gram(text, *span, SINGLE_WEIGHT) for text, span in zip(texts, spans, strict=True) if _HAN.match(text)
    ]
    return pairs + singles


def gram_texts(run: str) -> tuple[Sequence[str], int]:
    """Return the texts of ``grams``, and how many pairs (or 1 for a single character) there are."""
    if len(run) > 1 and run.isalpha() and unicodedata.is_normalized("NFKC", run):  # without marks
        return [*map(str.__add__, run, run[1:]), *_HAN.findall(run)], len(run) - 1
    found = grams(run)
    return [gram.text for gram in found], sum(gram.weight == 1.0 for gram in found)


_folded = lru_cache(maxsize=8_192)(fold)  # a script has a few thousand characters with their marks


@cache
def _clusters() -> re.Pattern[str]:
    marks = marks_class()
    return re.compile(f"[^{marks}][{marks}]{{0,{_MOST_ATTACHED}}}|[{marks}]{{1,{_MOST_ATTACHED}}}")
