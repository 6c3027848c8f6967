"""Find extractions by their meaning: Qdrant ranks points, SQL says which of them have a row."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.database import Database, ReadSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId
from app.domain.text import TextRules
from app.errors import GenerationMismatch, IndexChanged, IndexRebuilding, QdrantError
from app.services.embedding.embedder import Embedder, TextRole
from app.services.index_use import identity_of, stored_identity
from app.services.storage.qdrant.repository import QdrantRepository, SearchResult
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.hits import IndexSeen, seen_of

_GHOSTS_AND_ROWS = 10_000

_READ = ("generation",)
"""The payload fields to read."""

_VECTORS_KEPT = 1_000
"""Cached query vectors: a megabyte with the default embedder."""

_UNRELATED = (
    "The bridge over the river was closed for repairs in March.",
    "Insulin lowers the level of sugar in the blood.",
    "The orchestra played the second symphony without a pause.",
    "Quarterly revenue rose by four percent to two million euro.",
    "Owls hunt at night and swallow their prey whole.",
    "The parser reports the line and the column of each error.",
    "She won the election with a narrow majority.",
    "Knead the dough for ten minutes and let it rest.",
)

Vector = NDArray[np.float32]
T = TypeVar("T")


class FoundByMeaning(NamedTuple):
    """An extraction that has a row, and its cosine similarity to the query, from -1 to 1."""

    id: str
    score: float
    project_id: ProjectId


Answer = Callable[[ReadSession, list[FoundByMeaning]], T]
"""Makes a result from what was found, in a transaction."""


@dataclass(frozen=True, slots=True)
class _Answered(Generic[T]):
    result: T


class MeaningSearch:
    """Asks Qdrant for the nearest vectors, and SQL for their rows.

    A filter on ``data`` sends at most ``ids_a_page`` ids in one request; if more extractions pass
    it, the nearest ``glance`` of all points are filtered first.
    """

    def __init__(  # noqa: PLR0913 - each is a separate part or setting
        self,
        database: Database,
        qdrant: QdrantRepository,
        embedder: Embedder,
        *,
        text_rules: TextRules,
        ids_a_page: int = 10_000,
        glance: int = 1_000,
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._embedder = embedder
        self._text_rules = text_rules
        self._ids_a_page = ids_a_page
        self._glance = glance
        self._unrelated: float | None = None
        self._vectors: dict[str, Vector] = {}  # recently used, the oldest first

    @property
    def trouble(self) -> str | None:
        """Why Qdrant's last request failed, while it is tried again."""
        return self._qdrant.trouble

    async def unrelated(self) -> float:
        """The cosine similarity that the embedder gives an unrelated query and passage.

        Measured once, on texts about different subjects; some models give 0.1, others 0.8.
        """
        if self._unrelated is None:
            queries = await self._embedder.embed(_UNRELATED[::2], TextRole.QUERY)
            passages = await self._embedder.embed(_UNRELATED[1::2], TextRole.PASSAGE)
            self._unrelated = float((queries @ passages.T).mean())
        return self._unrelated

    async def find(self, text: str, filters: Filters, limit: int, answer: Answer[T]) -> T:
        """Answer with the best matches, best first, at most ``limit``.

        Ghosts and rows of other projects are never among them, even if Qdrant returns them.
        ``answer`` makes the result from them, in the transaction that found their rows if possible:
        a second one would take 0.4 ms of 5.

        Raises:
            IndexRebuilding, CollectionMissing: the index can't be searched now.
            GenerationMismatch: one of the stores was restored from a backup older than a reindex.
            IndexChanged: another embedder made the vectors; the query can't be compared to them.
        """
        vector = await self._vector_of(text)
        try:
            answered = await self._answer_at_once(vector, filters, limit, answer)
            if answered is not None:
                return answered.result
            found = await self._nearest(vector, limit, filters)
        except QdrantError:  # the collection may be gone, or have another vector size
            await self._database.read(self._require_current)
            raise

        def read(session: ReadSession) -> T:
            if not found:
                self._require_current(session)
            return answer(session, found)

        return await self._database.read(read)

    async def _answer_at_once(
        self, vector: Vector, filters: Filters, limit: int, answer: Answer[T]
    ) -> _Answered[T] | None:
        """Answer with the nearest points; None if ghosts or SQL's filters leave too few of them."""
        if filters.for_sql:
            return None
        points = await self._search(vector, limit, filters)

        def read(session: ReadSession) -> _Answered[T] | None:
            found = self._current(session, points, filters)
            if len(found) < limit <= len(points):
                return None
            return _Answered(answer(session, found))

        return await self._database.read(read)

    async def _vector_of(self, text: str) -> Vector:
        """A query's vector, cached: pages of a search and repeated queries are embedded once."""
        vector = self._vectors.pop(text, None)
        if vector is None:
            vector = (await self._embedder.embed([text], TextRole.QUERY))[0]
        self._vectors[text] = vector
        if len(self._vectors) > _VECTORS_KEPT:
            del self._vectors[next(iter(self._vectors))]
        return vector

    async def _nearest(self, vector: Vector, limit: int, filters: Filters) -> list[FoundByMeaning]:
        """The nearest extractions that pass the filters.

        Only SQL evaluates filters on ``data`` and sources. If few rows pass, Qdrant ranks just
        those. If many do, the nearest of all points often include enough of them; otherwise, all
        that pass are ranked, a page at a time.
        """
        if not filters.for_sql:
            return await self._ranked(vector, limit, filters)
        ids = await self._matching(filters, after=None)
        if len(ids) < self._ids_a_page:
            return await self._among(vector, limit, filters, ids)
        points = await self._search(vector, self._glance, filters.part_for_index)
        found = await self._keep(points, filters)
        if len(found) >= limit:
            return found[:limit]
        best: list[FoundByMeaning] = []
        while ids:
            best += await self._among(vector, limit, filters, ids)
            best = sorted(best, key=lambda hit: (-hit.score, hit.id))[:limit]
            ids = await self._matching(filters, after=ids[-1])
        return best

    async def _ranked(self, vector: Vector, limit: int, filters: Filters) -> list[FoundByMeaning]:
        """The nearest extractions that pass ``filters``; asks for more where some are ghosts."""
        of_points = filters.part_for_index
        asked = limit
        while True:
            points = await self._search(vector, asked, of_points)
            found = await self._keep(points, filters)
            if len(found) >= limit or len(points) < asked or asked == _GHOSTS_AND_ROWS:
                return found[:limit]
            asked = min(asked * 4, _GHOSTS_AND_ROWS)

    async def _search(self, vector: Vector, limit: int, filters: Filters) -> list[SearchResult]:
        return await self._qdrant.search(vector, limit, filters, fields=_READ)

    async def _among(
        self, vector: Vector, limit: int, filters: Filters, ids: Sequence[ExtractionId]
    ) -> list[FoundByMeaning]:
        return await self._ranked(vector, limit, replace(filters, extraction_ids=tuple(ids)))

    async def _matching(self, filters: Filters, *, after: ExtractionId | None) -> list[ExtractionId]:
        of_rows = filters.part_for_sql
        return await self._database.read(
            lambda session: ExtractionRepository(session).list_ids(of_rows, after=after, limit=self._ids_a_page)
        )

    async def _keep(self, points: Sequence[SearchResult], filters: Filters) -> list[FoundByMeaning]:
        """The points that have a current row, in their order."""
        return await self._database.read(lambda session: self._current(session, points, filters))

    def _current(
        self, session: ReadSession, points: Sequence[SearchResult], filters: Filters
    ) -> list[FoundByMeaning]:
        """The points that have a current row, in their order; raises if the index can't be used."""
        kept: Collection[ExtractionId] = [point.extraction_id for point in points]
        if filters.for_sql:
            kept = ExtractionRepository(session).keep_passing(kept, filters.part_for_sql)
        # The statement that reads the rows also reads the index's state: no extra query.
        seen, rows = seen_of(session, kept)
        self._check(seen)
        generation = 0 if seen is None else seen.generation
        found = [(str(point.extraction_id), point) for point in points]
        current = [(id_, point) for id_, point in found if id_ in rows and _generation(point) == generation]
        # Skip points of older generations: their rows are unmarked, and will be embedded again. If
        # all points are old and a row is marked, a store was restored from an older backup.
        if not current and any(row.marked for row in rows.values()):
            raise GenerationMismatch(self._qdrant.collection, generation)
        return [
            FoundByMeaning(id_, point.score, rows[id_].project_id)
            for id_, point in current
            if filters.project_id in {None, rows[id_].project_id, str(rows[id_].project_id)}
        ]

    def _check(self, seen: IndexSeen | None) -> None:
        """Raise unless the index is complete and made by this embedder with these text rules."""
        if seen is None:
            return
        if seen.rebuilding:
            raise IndexRebuilding
        stored, ours = stored_identity(seen), identity_of(self._embedder, self._text_rules)
        if stored != ours:
            raise IndexChanged(str(stored), str(ours))

    def _require_current(self, session: ReadSession) -> None:
        self._check(seen_of(session, ())[0])


def _generation(point: SearchResult) -> object:
    return point.payload.get("generation", 0)
