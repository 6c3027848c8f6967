"""Find extractions by meaning, by words and by filter."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import orjson

from app.database import Database, ReadSession
from app.domain.filters import Filters
from app.domain.ids import project_id_of
from app.domain.normal_form import composed
from app.domain.rows import ExtractionRow
from app.domain.search import (
    MAX_HITS,
    MAX_QUERY_CHARS,
    Query,
    Ranked,
    SearchHit,
    SearchHits,
    SearchMode,
    Span,
    Twin,
)
from app.errors import AgentStorageError, InvalidInput
from app.services.filter_warnings import warnings_of
from app.services.fusion import STEPS, Side, fuse_in_steps
from app.services.meaning_search import FoundByMeaning, MeaningSearch
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.words import WordsRepository
from app.services.words.searching import FoundByWords, WordSearch
from app.words.highlights import highlights

_DECIMALS = 6

_COLLAPSED_DEPTH = 4
"""The factor by which more hits are asked for when collapsing may merge several into one."""

PATIENCE_S = 2.0
"""How long the search waits for the slower side once the faster one has answered."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Sides:
    """What the two sides found; None where a side wasn't asked, failed or was late."""

    meaning: list[FoundByMeaning] | None
    words: FoundByWords | None
    degraded: tuple[str, ...]


class SearchService:
    """Searches by meaning and by words at the same time, and fuses both results into one order."""

    def __init__(
        self,
        database: Database,
        meaning: MeaningSearch,
        words: WordSearch,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._meaning = meaning
        self._words = words
        self._patience_s = patience_s

    async def search(self, query: Query) -> SearchHits:
        """The best matches, best first, at most ``query.limit``.

        In mode ``auto``, if one side fails or is late, the answer comes from the other, and says
        so.

        Raises:
            InvalidInput: the query is blank or too long, or the limit is out of range.
            NotFound: the project doesn't exist.
            IndexRebuilding, CollectionMissing, GenerationMismatch, IndexChanged: only in mode
                ``meaning``: the index can't be searched now.
        """
        _check(query)
        text = composed(query.text, "query")
        project_id = None if query.project is None else project_id_of(query.project)
        filters = replace(query.filters, project_id=project_id)
        match query.mode:
            case SearchMode.MEANING:
                return await self._by_meaning(query, text, filters)
            case SearchMode.WORDS:
                return await self._by_words(query, text, filters)
            case SearchMode.AUTO:
                return await self._by_both(query, text, filters)

    async def _by_meaning(self, query: Query, text: str, filters: Filters) -> SearchHits:
        def answer(session: ReadSession, found: list[FoundByMeaning]) -> SearchHits:
            return _answer(session, query, _Sides(found, None, ()))

        return await self._meaning.find(text, filters, _depth(query), answer)

    async def _by_words(self, query: Query, text: str, filters: Filters) -> SearchHits:
        def answer(session: ReadSession) -> SearchHits:
            found = self._words.find(session, text, filters, _depth(query))
            return _answer(session, query, _Sides(None, found, _incomplete(found)))

        return await self._database.read(answer)

    async def _by_both(self, query: Query, text: str, filters: Filters) -> SearchHits:
        depth = _depth(query)
        by_meaning = self._meaning.find(text, filters, depth, lambda _, found: found)
        by_words = self._database.read(lambda session: self._words.find(session, text, filters, depth))
        sides = await self._both(self._measured(by_meaning), by_words)
        unrelated = await self._meaning.unrelated() if sides.meaning and sides.words else 0.0
        return await self._database.read(lambda session: _answer(session, query, sides, unrelated))

    async def _measured(self, finding: Awaitable[list[FoundByMeaning]]) -> list[FoundByMeaning]:
        """Find by meaning, and measure what unrelated texts score; either may fail this side."""
        found = await finding
        if found:
            await self._meaning.unrelated()
        return found

    async def _both(self, meaning: Awaitable[list[FoundByMeaning]], words: Awaitable[FoundByWords]) -> _Sides:
        """Run both sides; once one has answered, wait for the other for a limited time."""
        tasks = asyncio.ensure_future(meaning), asyncio.ensure_future(words)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            failed = any(task.exception() for task in done)
            await asyncio.wait(tasks, timeout=None if failed else self._patience_s)
            lacks = tuple(
                lack
                for name, task in zip(("meaning", "words"), tasks, strict=True)
                if (lack := self._lack(name, task))
            )
            if len(lacks) == len(tasks):
                raise tasks[0].exception() or tasks[1].exception() or AssertionError
            found = _result(tasks[1])
            return _Sides(_result(tasks[0]), found, (*lacks, *_incomplete(found)))
        finally:
            for task in tasks:
                task.cancel()

    def _lack(self, name: str, task: "asyncio.Future[T]") -> str | None:
        """What the answer lacks without this side, if it has none."""
        if task.done():
            return _failure(name, task)
        late = f"{name}: no answer in {self._patience_s:g} s"
        if name == "words":
            return f"{late} from the database"
        trouble = self._meaning.trouble
        return f"{late} from Qdrant or the embedder" if trouble is None else f"{late} from Qdrant ({trouble})"


def _depth(query: Query) -> int:
    """How many hits to ask each side for: a step, or only the page for one side, uncollapsed."""
    wanted = query.offset + query.limit + 1
    if query.collapse:
        wanted = max(wanted, STEPS[0]) * _COLLAPSED_DEPTH
    elif query.mode is not SearchMode.AUTO:
        return wanted
    return next(step for step in STEPS if step >= min(wanted, STEPS[-1]))


def _failure(name: str, task: "asyncio.Future[T]") -> str | None:
    error = task.exception()
    if error is None:
        return None
    if not isinstance(error, AgentStorageError) or isinstance(error, InvalidInput):
        raise error
    return f"{name}: {error}"


def _incomplete(found: FoundByWords | None) -> tuple[str, ...]:
    if found is None or found.complete:
        return ()
    return ("words: the job index_words hasn't made the words of all older extractions yet",)


def _result(task: "asyncio.Future[T]") -> T | None:
    return task.result() if task.done() and task.exception() is None else None


def _answer(session: ReadSession, query: Query, sides: _Sides, unrelated: float = 0.0) -> SearchHits:
    """The page of hits that was asked for, from what the sides found."""
    if query.project is not None and not sides.meaning and not (sides.words and sides.words.matches):
        ProjectRepository(session).get(query.project)
    meaning = Side.of([(each.id, each.score) for each in sides.meaning or ()])
    found = sides.words.matches if sides.words else ()
    words = Side.of([(each.id, each.share) for each in found], [each.id for each in found if each.certain])
    if sides.words is None:
        ordered = [(id_, each.score) for id_, each in meaning.ranked.items()]
    elif sides.meaning is None:
        ordered = [(id_, each.score) for id_, each in words.ranked.items()]
    else:
        shares = _shares(session, sides.words, sides.meaning, words)
        ordered = fuse_in_steps(meaning, words, shares, unrelated, depth=_depth(query))
    if query.min_score is not None:
        # Compare the rounded score, so that a score copied from an answer matches its hit again.
        ordered = [each for each in ordered if round(each[1], _DECIMALS) >= query.min_score]
    hits = _Hits(session, query, ordered).take(query.offset + query.limit + 1)
    page = hits[query.offset : query.offset + query.limit]
    hits_of_page = tuple(_explained(hit, meaning, words, sides.words) for hit in page)
    degraded = sides.degraded
    if degraded and not hits and not ExtractionRepository(session).list_ids(Filters(), limit=1):
        degraded = ()  # the store is empty, so no hit is missing
    project_id = None if query.project is None else project_id_of(query.project)
    rows = [hit.extraction for hit in page]
    warnings = warnings_of(session, replace(query.filters, project_id=project_id), rows)
    return SearchHits(hits_of_page, degraded, len(hits) > query.offset + query.limit, warnings)


def _shares(
    session: ReadSession, words: FoundByWords, meaning: Sequence[FoundByMeaning], side: Side
) -> dict[str, float]:
    """The word scores of hits that were found only by meaning."""
    shares = dict[str, float]()
    for project_id, query in words.queries.items():
        ids = [each.id for each in meaning if each.project_id == project_id and each.id not in side.ranked]
        if ids and query.weights:
            documents = WordsRepository(session).documents_of(ids)
            shares |= {match.id: match.share for match in query.matches(documents)}
    return shares


class _Hits:
    """Hits with their rows; if the query collapses, those of the same type and data become one."""

    def __init__(self, session: ReadSession, query: Query, ordered: Sequence[tuple[str, float]]) -> None:
        self._session = session
        self._rows = dict[str, ExtractionRow]()
        self._collapse = query.collapse
        self._ordered = ordered

    def take(self, wanted: int) -> list[SearchHit]:
        """The first ``wanted`` hits, without rows that were deleted meanwhile."""
        hits, at, size = dict[object, SearchHit](), 0, wanted
        while at < len(self._ordered) and (len(hits) < wanted or self._collapse):
            some = self._ordered[at : at + size]
            self._read([id_ for id_, _ in some])
            for id_, score in some:
                if id_ in self._rows:
                    self._add(hits, self._rows[id_], score)
            at += len(some)
        return list(hits.values())[:wanted]

    def _read(self, ids: Sequence[str]) -> None:
        missing = [id_ for id_ in ids if id_ not in self._rows]
        for row in ExtractionRepository(self._session).get_batch(missing):
            self._rows[str(row.id)] = row

    def _add(self, hits: dict[object, SearchHit], row: ExtractionRow, score: float) -> None:
        key: object = row.id
        if self._collapse:
            key = (row.project_id, row.extraction_type, orjson.dumps(row.data, option=orjson.OPT_SORT_KEYS))
        if key in hits:
            hits[key] = replace(hits[key], twins=(*hits[key].twins, Twin(row.id, row.source_uri)))
        else:
            hits[key] = SearchHit(score, row)


def _explained(hit: SearchHit, meaning: Side, words: Side, found: FoundByWords | None) -> SearchHit:
    id_ = str(hit.extraction.id)
    query = found.queries.get(hit.extraction.project_id) if found else None
    terms: tuple[str, ...] = ()
    spans: dict[str, tuple[Span, ...]] = {}
    if query is not None:
        terms, spans = highlights(
            hit.extraction.extraction_type, hit.extraction.data, {term.term for term in query.terms.values()}
        )
    return replace(
        hit,
        score=round(hit.score, _DECIMALS),
        meaning=_shown(meaning.ranked.get(id_)),
        words=_shown(words.ranked.get(id_)),
        terms=terms,
        highlights=spans,
    )


def _shown(side: Ranked | None) -> Ranked | None:
    return None if side is None else Ranked(side.rank, round(side.score, _DECIMALS))


def _check(query: Query) -> None:
    if not query.text.strip():
        raise InvalidInput("the query is empty; say what to look for")
    if len(query.text) > MAX_QUERY_CHARS:
        raise InvalidInput(
            f"the query has {len(query.text):,} characters; at most {MAX_QUERY_CHARS:,} are allowed"
        )
    if not 1 <= query.limit <= MAX_HITS:
        raise InvalidInput(f"a limit of {query.limit} is out of range; it may be 1 to {MAX_HITS:,}")
    if query.offset < 0 or query.offset + query.limit > MAX_HITS:
        raise InvalidInput(
            f"an offset of {query.offset} with a limit of {query.limit} is out of range; together they may be at most "
            f"{MAX_HITS:,}"
        )
    if query.filters.set_aside and query.mode is SearchMode.MEANING:
        raise InvalidInput("extractions that are set aside have no vectors; search them by words")
    if query.filters.indexed is False and query.mode is SearchMode.MEANING:
        raise InvalidInput("extractions that aren't indexed have no vectors; search them by words")
