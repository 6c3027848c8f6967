"""Find extractions by meaning and by filter."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.database import Database, ReadSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, project_id_of
from app.domain.normal_form import composed
from app.domain.rows import ExtractionRows
from app.domain.search import MAX_HITS, MAX_QUERY_CHARS, Query, SearchHit, SearchHits
from app.errors import GenerationMismatch, IndexChanged, IndexRebuilding, InvalidInput, QdrantError
from app.services.embedding.embedder import Embedder, EmbedderIdentity
from app.services.storage.qdrant.repository import QdrantRepository, SearchResult
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.hits import IndexSeen, rows_of_hits
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.project import ProjectRepository

_GHOSTS_AND_ROWS = 10_000

Vector = NDArray[np.float32]


class SearchService:
    """Asks Qdrant for the nearest vectors and SQL for what they stand for.

    A filter on ``data`` names at most ``ids_a_page`` extractions in one request; where more satisfy it, the
    best ``glance`` of all points are looked through first.
    """

    def __init__(
        self,
        database: Database,
        qdrant: QdrantRepository,
        embedder: Embedder,
        *,
        ids_a_page: int = 10_000,
        glance: int = 1_000,
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._embedder = embedder
        self._ids_a_page = ids_a_page
        self._glance = glance

    async def search(self, query: Query) -> SearchHits:
        """The best matches, best first, at most ``query.limit``.

        A vector whose row is gone is never among them, nor a row of another project, whatever Qdrant says of it.

        Raises:
            InvalidInput: the query is blank or too long, or the limit is out of range.
            NotFound: there is no such project.
            IndexRebuilding, CollectionMissing: the index can't be searched now.
            GenerationMismatch: one of the two stores was restored from before a reindex.
            IndexChanged: another embedder made the vectors; they would be compared with what they aren't made for.
        """
        _check(query)
        project_id = None if query.project is None else project_id_of(query.project)
        filters = replace(query.filters, project_id=project_id)
        vector = (await self._embedder.embed([composed(query.text, "query")]))[0]
        try:
            found = await self._nearest(vector, query.limit, filters)
        except QdrantError:  # it may be gone, or of another size
            await self._database.read(self._require_current)
            raise
        if not found:
            await self._require_current_and_project(query.project)
        return found

    async def _nearest(self, vector: Vector, limit: int, filters: Filters) -> SearchHits:
        """SQL alone decides what a filter on ``data`` or on sources means; Qdrant ranks.

        If few rows satisfy it, Qdrant ranks just those. If many do, the best of all points will often hold
        enough of them; if they don't, all that satisfy it are ranked, a page at a time.
        """
        if not filters.for_sql:
            return await self._ranked(vector, limit, filters)
        ids = await self._matching(filters, after=None)
        if len(ids) < self._ids_a_page:
            return await self._among(vector, limit, filters, ids)
        points = await self._qdrant.search(vector, self._glance, filters.part_for_index)
        found = await self._hydrate(points, filters)
        if len(found) >= limit:
            return found[:limit]
        best: SearchHits = []
        while ids:
            best += await self._among(vector, limit, filters, ids)
            best = sorted(best, key=lambda hit: (-hit.score, hit.extraction.id))[:limit]
            ids = await self._matching(filters, after=ids[-1])
        return best

    async def _ranked(self, vector: Vector, limit: int, filters: Filters) -> SearchHits:
        """The best matches of ``filters``; reads on where ghosts took the place of rows."""
        of_points = filters.part_for_index
        asked = limit
        while True:
            points = await self._qdrant.search(vector, asked, of_points)
            found = await self._hydrate(points, filters)
            if len(found) >= limit or len(points) < asked or asked == _GHOSTS_AND_ROWS:
                return found[:limit]
            asked = min(asked * 4, _GHOSTS_AND_ROWS)

    async def _among(
        self, vector: Vector, limit: int, filters: Filters, ids: Sequence[ExtractionId]
    ) -> SearchHits:
        return await self._ranked(vector, limit, replace(filters, extraction_ids=tuple(ids)))

    async def _matching(self, filters: Filters, *, after: ExtractionId | None) -> list[ExtractionId]:
        of_rows = filters.part_for_sql
        return await self._database.read(
            lambda session: ExtractionRepository(session).list_ids(of_rows, after=after, limit=self._ids_a_page)
        )

    async def _hydrate(self, points: Sequence[SearchResult], filters: Filters) -> SearchHits:
        """The rows that the points stand for, in their order; a point without one is passed over."""
        if not points:
            return []
        scores = {point.extraction_id: point.score for point in points}
        generations = {point.extraction_id: point.payload.get("generation", 0) for point in points}
        ids = list(scores)

        def read(session: ReadSession) -> ExtractionRows:
            kept = ids
            if filters.for_sql:
                kept = list(ExtractionRepository(session).keep_passing(ids, filters.part_for_sql))
            # In the statement that reads the rows, so that the check costs no query of its own.
            seen, rows = rows_of_hits(session, kept)
            self._check(seen)
            return rows if seen is None else self._of_generation(seen.generation, rows, generations)

        rows = {row.id: row for row in await self._database.read(read)}
        if filters.project_id is not None:
            rows = {id_: row for id_, row in rows.items() if row.project_id == filters.project_id}
        return [SearchHit(score, rows[id_]) for id_, score in scores.items() if id_ in rows]

    def _of_generation(
        self, current: int, rows: ExtractionRows, generations: Mapping[ExtractionId, object]
    ) -> ExtractionRows:
        """Those rows whose vectors the last rebuild, or what came after it, has made.

        A vector that came late is passed over; its row is unmarked, and embedded again. Where all are of another
        generation and a row is marked, a store is of an older backup.
        """
        kept = [row for row in rows if generations[row.id] == current]
        if not kept and any(row.embedding_id is not None for row in rows):
            raise GenerationMismatch(self._qdrant.collection, current)
        return kept

    def _check(self, seen: IndexSeen | None) -> None:
        """The vectors that were searched are those of this process's embedder, and all of them are there."""
        if seen is None:
            return
        if seen.rebuilding:
            raise IndexRebuilding
        stored = EmbedderIdentity(seen.embedder_name, seen.embedder_version, seen.dimension)
        if stored != self._embedder.identity:
            raise IndexChanged(str(stored), str(self._embedder.identity))

    def _require_current(self, session: ReadSession) -> None:
        state = IndexStateRepository(session).get()
        if state is not None:
            self._check(
                IndexSeen(
                    state.embedder_name,
                    state.embedder_version,
                    state.dimension,
                    state.rebuilding,
                    state.generation,
                )
            )

    async def _require_current_and_project(self, project: str | None) -> None:
        """Why nothing was found, if it is for another reason than that nothing fits."""

        def read(session: ReadSession) -> None:
            self._require_current(session)
            if project is not None:
                ProjectRepository(session).get(project)

        await self._database.read(read)


def _check(query: Query) -> None:
    if not query.text.strip():
        raise InvalidInput("the query is empty; say what to look for")
    if len(query.text) > MAX_QUERY_CHARS:
        raise InvalidInput(
            f"the query has {len(query.text):,} characters; at most {MAX_QUERY_CHARS:,} are allowed"
        )
    if not 1 <= query.limit <= MAX_HITS:
        raise InvalidInput(f"a limit of {query.limit} is out of range; it may be 1 to {MAX_HITS:,}")
    if query.filters.indexed is False or query.filters.set_aside:
        raise InvalidInput("a search finds what is indexed alone; list the extractions that aren't")
