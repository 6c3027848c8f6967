"""The terms of passages and of queries: what is indexed, compared and highlighted."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Final

from app.words.chunk_terms import ChunkTerm, chunk_counts, chunk_terms, counts_of_chunks
from app.words.function_words import function_words
from app.words.grams import gram_texts, grams
from app.words.splitting import chunks, unspaced

TOKENIZER_VERSION: Final = 2
"""Rises when any text's terms change; an index belongs to one version."""
FUNCTION_WORD_WEIGHT: Final = 0.3
"""What a word like "the" counts in a query. None is dropped: "The Who" consists of two."""
ALSO_WEIGHT: Final = 0.5
"""What a stem by another language than the query's counts."""
_SHORT_NUMBER = 5


@dataclass(frozen=True, slots=True)
class Token:
    """A term and its place in the original text, in code points.

    ``exact`` tells an identifier in whole: it has a digit or an inner sign, and isn't stemmed.
    """

    term: str
    start: int
    end: int
    exact: bool


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """A term to look up.

    Attributes:
        term: as it is in the index.
        word: the terms of equal ``word`` stand for the same word of the query.
        weight: what its score is multiplied by, above 0 and at most 1.
        identifier: whether a passage that hasn't got it is hardly what was asked for.
    """

    term: str
    word: int
    weight: float
    identifier: bool


def tokenize(text: str, language: str, among: AbstractSet[str] | None = None) -> list[Token]:
    """The tokens of a passage or a query in the order of their words. Never raises; linear in the text's length.

    With ``among``, only those whose term is one of them, which takes a fraction of the time.

    A word gives its stem and itself, a compound its parts, an identifier itself and its parts.
    ``language`` is an ISO 639-1 code; with "und" or a language that has no stemmer, words are only
    folded.
    """
    tokens = list[Token]()
    for found in chunks().finditer(text):
        base, terms = found.start(), _terms(found, language)
        if among is not None:
            terms = [term for term in terms if term.term in among]
        tokens += [Token(term.term, base + term.start, base + term.end, term.exact) for term in terms]
    return tokens


def terms_of(text: str, language: str) -> dict[str, int]:
    """How often each term is in the text: what ``tokenize`` gives, counted, and several times faster."""
    return terms_and_length(text, language)[0]


def terms_and_length(text: str, language: str) -> tuple[dict[str, int], int]:
    """What ``terms_of`` gives, and how many words the text has: its length to BM25.

    The sum of the counts would make texts long that have many compounds.
    """
    if text.isascii() or not unspaced().search(text):
        found = counts_of_chunks(text.split(), language)
        return Counter(chain.from_iterable([terms for terms, _ in found])), sum([words for _, words in found])
    terms, length = list[str](), 0
    for chunk in chunks().finditer(text):
        of, words = gram_texts(chunk[0]) if chunk.lastindex else chunk_counts(chunk[0], language)
        terms += of
        length += words
    return Counter(terms), length


def query_terms(text: str, language: str, also: Sequence[str] = ()) -> list[QueryTerm]:
    """The terms to look up for a query, each once, with the stems by ``also``, the index's other languages.

    Words as they stand are in the index beside their stems, so that a wrongly guessed language
    still finds the same words; inflected ones it finds by ``also``. Function words are looked up
    too, and count little.
    """
    terms = dict[str, QueryTerm]()
    words = dict[tuple[int, int], int]()
    for each in dict.fromkeys((language, *also)):
        of_each = dict[str, QueryTerm]()
        for base, term in _placed(text, each):
            word = words.setdefault((base, term.word), len(words))
            weight = _weight(term, text[base + term.start : base + term.end], each)
            weight *= 1.0 if each == language else ALSO_WEIGHT
            known = of_each.get(term.term)
            if known is None or weight > known.weight:
                of_each[term.term] = QueryTerm(
                    term.term, word, weight, term.exact and _is_identifier(term.term)
                )
        terms = of_each | terms  # what another language says of a term doesn't raise its weight
    return sorted(terms.values(), key=lambda term: term.word)


def _placed(text: str, language: str) -> Iterator[tuple[int, ChunkTerm]]:
    """Each term with the place that its own is counted from."""
    for found in chunks().finditer(text):
        for term in _terms(found, language):
            yield found.start(), term


def _weight(term: ChunkTerm, written: str, language: str) -> float:
    return term.weight * (FUNCTION_WORD_WEIGHT if written.lower() in function_words(language) else 1.0)


def _terms(found: re.Match[str], language: str) -> Sequence[ChunkTerm]:
    """Of a chunk; places are counted from its own."""
    if not found.lastindex:
        return chunk_terms(found[0], language)
    return [
        ChunkTerm(gram.text, gram.start, gram.end, exact=False, weight=gram.weight, word=word)
        for word, gram in enumerate(grams(found[0]))
    ]


def _is_identifier(term: str) -> bool:
    """A year, an amount or a hyphenated word may be said in another way; a code can't."""
    return not term.isalpha() and not (term.isdigit() and len(term) < _SHORT_NUMBER)
