"""The terms of a chunk: the text between two spaces."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from app.words.compounds import divisions
from app.words.folding import fold, normal
from app.words.splitting import MOST_CHUNK, MOST_TERM, Kind, Piece, bounded, pieces, plain_word
from app.words.stemming import stem

WHOLE_WEIGHT: Final = 0.3
"""The weight in a query of a word as written, beside its stem."""
PART_WEIGHT: Final = 0.3
"""The weight in a query of a part of a compound, beside the compound."""
CACHED_CHUNKS: Final = 32_768
"""How many chunks' terms are cached, about 500 bytes each. Nine of ten chunks are cache hits."""


class ChunkTerm(NamedTuple):
    """A term, its place in the chunk, and its fields for ``Token`` and ``QueryTerm``.

    ``word`` is the number of the word in the chunk that the term stands for.
    """

    term: str
    start: int
    end: int
    exact: bool
    weight: float
    word: int


@lru_cache(maxsize=CACHED_CHUNKS)
def chunk_terms(chunk: str, language: str) -> tuple[ChunkTerm, ...]:
    """Return the terms of a chunk, the same term at the same place once."""
    written, places = normal(chunk)
    terms = dict[tuple[str, int, int], ChunkTerm]()
    for word, piece in enumerate(pieces(written)):
        for term, start, end, weight in _forms(piece, language):
            if not term:
                continue
            at = (start, end) if places is None else (places[start][0], places[end - 1][1])
            terms.setdefault((term, *at), ChunkTerm(term, *at, piece.kind is Kind.WHOLE, weight, word))
    return tuple(terms.values())


@lru_cache(maxsize=CACHED_CHUNKS)
def chunk_counts(chunk: str, language: str) -> tuple[Sequence[str], int]:
    """Return the texts of the chunk's terms, and how many words they stand for."""
    terms = chunk_terms(chunk, language)
    return tuple(term.term for term in terms), terms[-1].word + 1 if terms else 0


_known: dict[str, dict[str, tuple[Sequence[str], int]]] = {}


def counts_of_chunks(written: Sequence[str], language: str) -> list[tuple[Sequence[str], int]]:
    """Return the result of ``chunk_counts`` for each run between spaces.

    Uses its own dictionary, because calling a cached function would take longer than all the rest.
    """
    known = _known.setdefault(language, {})
    if len(known) > CACHED_CHUNKS:
        known = _known[language] = {}
    try:
        return [known[run] for run in written]
    except KeyError:
        return [known.get(run) or _remember(known, run, language) for run in written]


def _remember(
    known: dict[str, tuple[Sequence[str], int]], run: str, language: str
) -> tuple[Sequence[str], int]:
    if len(run) <= MOST_CHUNK and run.isascii() and (word := plain_word(run)):
        # A fast path for most new chunks: no check for other kinds of chunks, and no places of
        # terms. A tuple in a tuple, because the garbage collector stops tracking tuples that hold
        # only strings.
        forms = _forms_of_word(word, 0, len(word), language)
        known[run] = plain = tuple([form[0] for form in forms]), 1
        return plain
    parts = [
        chunk_counts(run[start : start + MOST_CHUNK], language) for start in range(0, len(run), MOST_CHUNK)
    ]
    found = tuple(term for terms, _ in parts for term in terms), sum(words for _, words in parts)
    if len(run) <= MOST_CHUNK:
        known[run] = found
    return found


Form = tuple[str, int, int, float]
"""A term, its place, and its weight."""


def _forms(piece: Piece, language: str) -> Sequence[Form]:
    """Return the terms of the piece."""
    if piece.kind is not Kind.WORD:
        return [(bounded(piece.text), piece.start, piece.end, 1.0)]
    return _forms_of_word(piece.text, piece.start, piece.end, language)


def _forms_of_word(text: str, start: int, end: int, language: str) -> list[Form]:
    """Return the terms of a word: its stem, the word itself, and its parts."""
    whole = fold(text)
    if len(whole) > MOST_TERM:
        return [(bounded(whole), start, end, 1.0)]
    lower = text.lower()
    stemmed = _stemmed(lower, language)
    forms = [(stemmed, start, end, 1.0)]
    if whole != stemmed:
        forms.append((whole, start, end, WHOLE_WEIGHT))
    if len(lower) == len(text):
        for place in divisions(lower, language):
            forms.append((_stemmed(lower[:place], language), start, start + place, PART_WEIGHT))
            forms.append((_stemmed(lower[place:], language), start + place, end, PART_WEIGHT))
    return forms


def _stemmed(lower: str, language: str) -> str:
    return fold(stem(lower, language))
