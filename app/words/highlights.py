"""Finds the words of a query in an extraction, and their places in its texts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.words.languages import stemmed_as
from app.words.texts import text_to_index, texts_in
from app.words.tokens import tokenize

MOST_CHARACTERS = 20_000
"""How much of an extraction's texts is highlighted; searches find the words beyond it too."""

_MOST_SPANS = 100

Span = tuple[int, int]
"""The start and the end of a match."""


def highlights(
    extraction_type: str, data: Mapping[str, Any], terms: Collection[str]
) -> tuple[tuple[str, ...], dict[str, tuple[Span, ...]]]:
    """Return the terms that the extraction has, and their places by the path in ``data``.

    Places are in code points.
    """
    wanted = set(terms)
    language = stemmed_as(text_to_index(extraction_type, data)[:MOST_CHARACTERS])
    found, spans, left = dict[str, None](), dict[str, tuple[Span, ...]](), MOST_CHARACTERS
    for said in texts_in(data):
        here = tokenize(said.text[:left], language, wanted)
        found.update((token.term, None) for token in here)
        if here:
            spans[".".join(map(str, said.path))] = _merged([(token.start, token.end) for token in here])
        left -= len(said.text)
        if left <= 0:
            break
    return tuple(found), spans


def spans_in(text: str, terms: Collection[str]) -> tuple[Span, ...]:
    """Return where the terms begin and end in a text, in code points."""
    shown = text[:MOST_CHARACTERS]
    wanted = set(terms)
    return _merged([(token.start, token.end) for token in tokenize(shown, stemmed_as(shown), wanted)])


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the spans in their order, with overlapping ones merged."""
    merged = list[Span]()
    for start, end in sorted(set(spans), key=lambda span: (span[0], -span[1])):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged[:_MOST_SPANS])
