"""The terms of passages and queries, for indexing, ranking and highlighting."""

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
"""Rises when the terms of any text change; an index belongs to one version."""
FUNCTION_WORD_WEIGHT: Final = 0.3
"""The weight in a query of a word like "the". None is dropped: "The Who" is two of them."""
ALSO_WEIGHT: Final = 0.5
"""The weight of a stem by another language than the query's."""
_SHORT_NUMBER = 5


@dataclass(frozen=True, slots=True)
class Token:
    """A term and its place in the original text, in code points.

    ``exact`` marks a whole identifier: it has a digit or an inner sign, and isn't stemmed.
    """

    term: str
    start: int
    end: int
    exact: bool


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """A term to look up.

    Attributes:
        term: as in the index.
        word: terms with an equal ``word`` stand for the same word of the query.
        weight: the factor for the term's score, above 0 and at most 1.
        identifier: whether a passage without the term is unlikely to be relevant.
    """

    term: str
    word: int
    weight: float
    identifier: bool


def tokenize(text: str, language: str, among: AbstractSet[str] | None = None) -> list[Token]:
    """Return the tokens of a passage or a query in the order of their words.

    A word gives its stem and itself, a compound its parts, an identifier itself and its parts. With
    ``among``, only tokens with these terms are returned, in a fraction of the time. ``language`` is
    an ISO 639-1 code; with "und" or a language without a stemmer, words are only folded. Never
    raises; takes time linear in the length of the text.
    """
    tokens = list[Token]()
    without = frozenset[str]() if among is None else _chunks_without(among, text, language)
    for found in chunks().finditer(text):
        if found[0] in without:
            continue
        base, terms = found.start(), _terms(found, language)
        if among is not None:
            terms = [term for term in terms if term.term in among]
        tokens += [Token(term.term, base + term.start, base + term.end, term.exact) for term in terms]
    return tokens


def _chunks_without(wanted: AbstractSet[str], text: str, language: str) -> AbstractSet[str]:
    """Return chunks of the text that have none of the wanted terms.

    The terms of a chunk are known without their places, for most chunks from a dictionary. Text in
    scripts without spaces isn't examined.
    """
    if not text.isascii() and unspaced().search(text):
        return frozenset()
    runs = text.split()
    of_runs = counts_of_chunks(runs, language)
    return {run for run, (terms, _) in zip(runs, of_runs, strict=True) if wanted.isdisjoint(terms)}


def terms_of(text: str, language: str) -> dict[str, int]:
    """Count the terms of a text: those of ``tokenize``, but several times faster."""
    return terms_and_length(text, language)[0]


def terms_and_length(text: str, language: str) -> tuple[dict[str, int], int]:
    """Return the result of ``terms_of``, and the number of words, which is the length for BM25.

    The sum of the counts would overstate the length of texts with many compounds.
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
    """Return the terms to look up for a query, each once, also with the stems by ``also``.

    ``also`` are the other languages of the index. The index has words as written beside their
    stems, so a query whose language was guessed wrong still finds the same words; it finds
    inflected words by ``also``. Function words are looked up too, with a low weight.
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
        terms = of_each | terms  # another language doesn't raise the weight of a term
    return sorted(terms.values(), key=lambda term: term.word)


def _placed(text: str, language: str) -> Iterator[tuple[int, ChunkTerm]]:
    """Yield each term with the place of its chunk, from which its own place is counted."""
    for found in chunks().finditer(text):
        for term in _terms(found, language):
            yield found.start(), term


def _weight(term: ChunkTerm, written: str, language: str) -> float:
    return term.weight * (FUNCTION_WORD_WEIGHT if written.lower() in function_words(language) else 1.0)


def _terms(found: re.Match[str], language: str) -> Sequence[ChunkTerm]:
    """Return the terms of a chunk, with places counted from its start."""
    if not found.lastindex:
        return chunk_terms(found[0], language)
    return [
        ChunkTerm(gram.text, gram.start, gram.end, exact=False, weight=gram.weight, word=word)
        for word, gram in enumerate(grams(found[0]))
    ]


def _is_identifier(term: str) -> bool:
    """Whether the term is a code. A year, an amount or a hyphenated word has other spellings."""
    return not term.isalpha() and not (term.isdigit() and len(term) < _SHORT_NUMBER)
