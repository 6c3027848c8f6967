"""The terms of what stands between two spaces."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from app.words.compounds import divisions
from app.words.folding import fold, normal
from app.words.splitting import MOST_CHUNK, MOST_TERM, Kind, Piece, bounded, pieces, plain_word
from app.words.stemming import stem

WHOLE_WEIGHT: Final = 0.3
"""What a word as it stands counts in a query beside its stem."""
PART_WEIGHT: Final = 0.3
"""What a part of a compound counts in a query beside the compound."""
CACHED_CHUNKS: Final = 32_768
"""How many chunks' terms are kept, about 500 bytes each: nine of ten chunks of a text have been seen before."""


class ChunkTerm(NamedTuple):
    """A term, its place in the chunk, and what ``Token`` and ``QueryTerm`` say of it.

    ``word`` numbers the words of the chunk; the terms of equal ``word`` stand for the same one.
    """

    term: str
    start: int
    end: int
    exact: bool
    weight: float
    word: int


@lru_cache(maxsize=CACHED_CHUNKS)
def chunk_terms(chunk: str, language: str) -> tuple[ChunkTerm, ...]:
    """The terms of a chunk, the same term at the same place once."""
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
    """The texts of the chunk's terms, and how many words they stand for."""
    terms = chunk_terms(chunk, language)
    return tuple(term.term for term in terms), terms[-1].word + 1 if terms else 0


_known: dict[str, dict[str, tuple[Sequence[str], int]]] = {}


def counts_of_chunks(written: Sequence[str], language: str) -> list[tuple[Sequence[str], int]]:
    """As ``chunk_counts``, of each run between spaces. A dictionary of their own: a cache's call takes longer than all else."""
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
    if len(run) <= MOST_TERM and run.isascii() and (word := plain_word(run)):
        known[run] = plain = _terms_of_word(word.lower(), language), 1
        return plain
    parts = [
        chunk_counts(run[start : start + MOST_CHUNK], language) for start in range(0, len(run), MOST_CHUNK)
    ]
    found = tuple(term for terms, _ in parts for term in terms), sum(words for _, words in parts)
    if len(run) <= MOST_CHUNK:
        known[run] = found
    return found


def _terms_of_word(lower: str, language: str) -> tuple[str, ...]:
    """Of an ASCII word in lower case: most new ones of a text, without a look at what else a chunk may be."""
    stemmed = _stemmed(lower, language)
    # A tuple, because the garbage collector passes over tuples of texts.
    terms: tuple[str, ...] = (stemmed,) if stemmed == lower else (stemmed, lower)
    for place in divisions(lower, language):
        terms += (_stemmed(lower[:place], language), _stemmed(lower[place:], language))
    return terms


def _forms(piece: Piece, language: str) -> Iterator[tuple[str, int, int, float]]:
    """Each term of the piece with its place and weight: a word has its stem, itself, and its parts."""
    text, start, end, kind = piece
    if kind is not Kind.WORD:
        yield bounded(text), start, end, 1.0
        return
    whole = fold(text)
    if len(whole) > MOST_TERM:
        yield bounded(whole), start, end, 1.0
        return
    lower = text.lower()
    stemmed = _stemmed(lower, language)
    yield stemmed, start, end, 1.0
    if whole != stemmed:
        yield whole, start, end, WHOLE_WEIGHT
    if len(lower) != len(text):
        return
    for place in divisions(lower, language):
        yield _stemmed(lower[:place], language), start, start + place, PART_WEIGHT
        yield _stemmed(lower[place:], language), start + place, end, PART_WEIGHT


def _stemmed(lower: str, language: str) -> str:
    return fold(stem(lower, language))
