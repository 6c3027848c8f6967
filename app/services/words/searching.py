"""Find extractions by words: the database's full-text index gives candidates, BM25 ranks them."""

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.database import ReadSession
from app.domain.filters import Filters
from app.domain.ids import ProjectId
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.words import Documents, WordsRepository
from app.services.words.indexing import ENCODER
from app.services.words.ranking import K1, Statistics, bm25, idf
from app.words.languages import stemmed_as
from app.words.tokens import QueryTerm, query_terms

MOST_CANDIDATES = 500
"""The maximum number of extractions of a project that are ranked."""

_LISTED = 2_000
"""Up to this many extractions are listed for a word. A more frequent one only ranks."""

_ENOUGH = 200
_MOST_WORDS = 64
"""The maximum number of words of a query; of a longer one, the rarest count."""

_SAMPLE = 2_000
_REMEMBERED_PROJECTS = 64
_STALE_AFTER_S = 1.0
_READING_SHARE = 50
"""Statistics of a changed project are read again, but for at most a fiftieth of the time."""

_WORTH_READING = 0.5
"""The least weight of a candidate to read, as a share of the fiftieth's.

Measured: below it, hardly any candidate gets among the first fifty.
"""

_CERTAIN_MOST = 10
"""An identifier that is in more extractions than this doesn't count as certain."""


@dataclass(frozen=True, slots=True)
class WordMatch:
    """An extraction found by its words, with its share of the best possible score, from 0 to 1.

    ``certain`` is true if it has an identifier of the query that few others have.
    """

    id: str
    share: float
    certain: bool


@dataclass(frozen=True, slots=True)
class WeighedQuery:
    """A query in a project: tokens with weights, those that are certain, and the best score."""

    project_id: ProjectId
    terms: Mapping[str, QueryTerm]
    weights: Mapping[str, float]
    certain: frozenset[str]
    best: float
    mean_length: float

    def matches(self, documents: Documents, most: int | None = None) -> list[WordMatch]:
        """The best ``most`` documents that have any of the words, best first."""
        shares = bm25(documents, self.weights, self.mean_length) / max(self.best, 1e-9)
        certain = self._certain(documents)
        scores, ids = shares.tolist(), documents.ids
        least = 0.0 if most is None or most >= len(scores) else np.partition(shares, -most)[-most]
        found = [at for at, score in enumerate(scores) if score > 0 and (score >= least or at in certain)]
        found.sort(key=lambda at: (at not in certain, -scores[at], ids[at]))
        return [WordMatch(ids[at], scores[at], at in certain) for at in found[:most]]

    def _certain(self, documents: Documents) -> set[int]:
        if not self.certain:
            return set()
        return {at for at, tokens in enumerate(documents.tokens) if any(map(tokens.__contains__, self.certain))}


@dataclass(frozen=True, slots=True)
class FoundByWords:
    """The best matches, best first, and the queries, by which other extractions can be scored.

    ``complete`` is False while some extractions still lack their words.
    """

    matches: Sequence[WordMatch]
    queries: Mapping[ProjectId, WeighedQuery]
    complete: bool


class WordSearch:
    """Searches words, in a caller's transaction; caches statistics of recent projects."""

    def __init__(self) -> None:
        self._statistics: OrderedDict[ProjectId, _Kept] = OrderedDict()

    def find(self, session: ReadSession, text: str, filters: Filters, limit: int) -> FoundByWords:
        """The best ``limit`` matches of a query.

        Raises:
            InvalidInput: a data filter can't be used.
        """
        changes, complete = WordsRepository(session).projects(filters.project_id)
        matches, queries = list[WordMatch](), dict[ProjectId, WeighedQuery]()
        for project_id, last_change in changes.items():
            statistics = self._statistics_of(session, project_id, last_change)
            query, candidates = _candidates(session, project_id, text, statistics)
            queries[project_id] = query
            in_project = replace(filters, project_id=project_id)
            documents = _documents(session, query, candidates, in_project, limit)
            matches += query.matches(documents, limit)
        best = sorted(matches, key=lambda match: (not match.certain, -match.share, match.id))
        return FoundByWords(best[:limit], queries, complete)

    def _statistics_of(self, session: ReadSession, project_id: ProjectId, last_change: int) -> "_Statistics":
        kept = self._statistics.get(project_id)
        now = time.monotonic()
        if kept is None or (kept.last_change != last_change and now > kept.good_until):
            statistics = _read_statistics(session, project_id)
            done = time.monotonic()
            good_until = done + max(_STALE_AFTER_S, _READING_SHARE * (done - now))
            kept = _Kept(
                statistics, last_change, good_until if statistics.numbers.extractions > _SAMPLE else 0.0
            )
            self._statistics[project_id] = kept
            if len(self._statistics) > _REMEMBERED_PROJECTS:
                self._statistics.popitem(last=False)
        return kept.statistics


@dataclass(frozen=True, slots=True)
class _Statistics:
    numbers: Statistics
    languages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    statistics: _Statistics
    last_change: int
    good_until: float


def _read_statistics(session: ReadSession, project_id: ProjectId) -> _Statistics:
    """Read the statistics of a whole small project, or of a sample of a larger one."""
    words = WordsRepository(session)
    sample = words.sample(project_id, _SAMPLE)
    extractions = len(sample)
    if extractions >= _SAMPLE:
        extractions = ExtractionRepository(session).count(Filters(project_id=project_id))
    frequencies = Counter[str]()
    for tokens in sample.tokens:
        frequencies.update(tokens.split())
    languages = words.languages(sample.ids)
    mean_length = sum(sample.lengths) / max(1, len(sample))
    return _Statistics(Statistics(extractions, mean_length, len(sample), frequencies), languages)


def _candidates(
    session: ReadSession, project_id: ProjectId, text: str, statistics: _Statistics
) -> tuple[WeighedQuery, list[int]]:
    """The query, weighed by the project's statistics, and the most promising rows, best first."""
    known = query_terms(text, stemmed_as(text), statistics.languages)
    terms = dict(zip(ENCODER.tokens(project_id, [each.term for each in known]), known, strict=True))
    numbers = statistics.numbers
    estimates = {token: numbers.estimate(token) for token in terms}
    rarest = sorted(terms, key=lambda token: (estimates[token], token))[:_MOST_WORDS]
    words = WordsRepository(session)
    looked_up = [token for token in rarest if estimates[token] <= 4 * _LISTED]
    lists = words.postings(looked_up, _LISTED + 1)
    having = {token: max(estimates[token], 0.0) for token in rarest}
    having |= {token: _frequency(rows, estimates[token]) for token, rows in lists.items()}
    query = _weigh(project_id, {token: terms[token] for token in rarest}, having, numbers)
    candidates = _Candidates(query.weights)
    for token, rows in lists.items():
        if len(rows) <= _LISTED:
            candidates.add((token,), rows)
    common = sorted(
        (token for token in rarest if having[token] > _LISTED), key=lambda token: (having[token], token)
    )
    while common and len(candidates) < _ENOUGH:
        candidates.add(common, words.having_all(common, _LISTED))
        common = common[: len(common) // 2]
    return query, candidates.best()


def _frequency(rows: Sequence[int], estimate: float) -> float:
    return len(rows) if len(rows) <= _LISTED else max(_LISTED + 1.0, estimate)


def _weigh(
    project_id: ProjectId, terms: Mapping[str, QueryTerm], having: Mapping[str, float], numbers: Statistics
) -> WeighedQuery:
    """Weigh a query's terms.

    If no extraction has any spelling of a word, one spelling's weight still counts in the best
    score.
    """
    extractions = max(numbers.extractions, 1)
    weights = {
        token: term.weight * idf(extractions, min(having[token], extractions)) for token, term in terms.items()
    }
    best = dict[int, float]()
    for token, term in terms.items():
        if having[token]:
            best[term.word] = best.get(term.word, 0.0) + weights[token]
    for token, term in terms.items():
        best.setdefault(term.word, weights[token])
    certain = frozenset(
        token for token, term in terms.items() if term.identifier and 0 < having[token] <= _CERTAIN_MOST
    )
    found = {token: weights[token] for token in terms if having[token]}
    return WeighedQuery(project_id, terms, found, certain, (K1 + 1) * sum(best.values()), numbers.mean_length)


class _Candidates:
    """Rows with the weights of the words that they are known to have."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._rows: list[NDArray[np.int64]] = []
        self._worth: list[float] = []

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def add(self, tokens: Iterable[str], rows: Sequence[int]) -> None:
        """Add rows that have these words."""
        self._rows.append(np.asarray(rows, np.int64))
        self._worth.append(sum(self._weights.get(token, 0.0) for token in tokens))

    def best(self) -> list[int]:
        """The rows that may be among the best."""
        if not len(self):
            return []
        rows, places = np.unique(np.concatenate(self._rows), return_inverse=True)
        worth = np.bincount(places, np.repeat(self._worth, list(map(len, self._rows))))
        order = np.lexsort((rows, -worth))[:MOST_CANDIDATES]
        if len(order) > _ENOUGH:
            order = order[worth[order] >= _WORTH_READING * worth[order[_ENOUGH // 4]]]
        best: list[int] = rows[order].tolist()
        return best


def _documents(
    session: ReadSession, query: WeighedQuery, candidates: Sequence[int], filters: Filters, limit: int
) -> Documents:
    """The candidates that pass the filters.

    If they are too few: all extractions that pass, if these are few; otherwise also others that
    have one of the words and pass.
    """
    words = WordsRepository(session)
    found = words.documents(candidates, filters)
    anything = Filters(filters.project_id)
    if filters == anything or len(found) >= limit or not query.weights:
        return found
    ids = ExtractionRepository(session).list_ids(filters, limit=_LISTED)
    if len(ids) < _LISTED:
        return words.documents_of(ids)
    return found | words.documents(words.passing_any(list(query.weights), filters, _LISTED), anything)
