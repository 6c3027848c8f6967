"""Find extractions by meaning and by filter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from app.database import Database, ReadSession
from app.errors import InvalidInput
from app.models import ExtractionId, ProjectId, parse_extraction_id
from app.services.embedding.embedder import Embedder
from app.services.storage.qdrant.filters import SearchFilters
from app.services.storage.qdrant.repository import QdrantRepository, SearchResult
from app.services.storage.repositories.data_filter import Scalar
from app.services.storage.repositories.extraction import ExtractionRepository, ExtractionRow
from app.services.storage.repositories.project import ProjectRepository, project_id

MAX_LIMIT = 1_000
MAX_QUERY_CHARS = 10_000
_GHOSTS_AND_ROWS = 10_000

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. All given filters must hold; an empty one isn't applied.

    ``where`` maps a path in ``data`` (dotted, such as ``meta.lang``) to the value that must stand there.
    """

    text: str
    project: str | None = None
    limit: int = 10
    source_groups: Sequence[str] = ()
    extraction_types: Sequence[str] = ()
    min_confidence: float | None = None
    max_confidence: float | None = None
    where: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """One result: the extraction as SQL has it, and its cosine similarity to the query, from -1 to 1."""

    score: float
    extraction: ExtractionRow


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

    async def search(self, query: Query) -> list[Found]:
        """The best matches, best first, at most ``query.limit``.

        A vector whose row is gone is never among them, nor a row of another project, whatever Qdrant says of it.

        Raises:
            InvalidInput: the query is blank or too long, or the limit is out of range.
            NotFound: there is no such project.
        """
        _check(query)
        owner = None if query.project is None else project_id(query.project)
        vector = (await self._embedder.embed([query.text]))[0]
        filters = SearchFilters(
            project_id=None if owner is None else str(owner),
            source_groups=tuple(query.source_groups),
            extraction_types=tuple(query.extraction_types),
            min_confidence=query.min_confidence,
            max_confidence=query.max_confidence,
        )
        found = await self._nearest(vector, query, owner, filters)
        if not found and query.project is not None:
            await self._require_project(query.project)
        return found

    async def _nearest(
        self, vector: Vector, query: Query, owner: ProjectId | None, filters: SearchFilters
    ) -> list[Found]:
        """SQL alone decides what a filter on ``data`` means; Qdrant ranks.

        If few rows satisfy it, Qdrant ranks just those. If many do, the best of all points will often hold
        enough of them; if they don't, all that satisfy it are ranked, a page at a time.
        """
        if not query.where:
            return await self._ranked(vector, query, filters)
        ids = await self._matching(owner, query, after=None)
        if len(ids) < self._ids_a_page:
            return await self._among(vector, query, filters, ids)
        found = await self._hydrate(await self._qdrant.search(vector, self._glance, filters), query)
        if len(found) >= query.limit:
            return found[: query.limit]
        best: list[Found] = []
        while ids:
            best += await self._among(vector, query, filters, ids)
            best = sorted(best, key=lambda result: (-result.score, result.extraction.id))[: query.limit]
            ids = await self._matching(owner, query, after=ids[-1])
        return best

    async def _ranked(self, vector: Vector, query: Query, filters: SearchFilters) -> list[Found]:
        """The best matches of ``filters``; reads on where ghosts took the place of rows."""
        found: list[Found] = []
        asked = query.limit
        while True:
            hits = await self._qdrant.search(vector, asked, filters)
            found = await self._hydrate(hits, query)
            if len(found) >= query.limit or len(hits) < asked or asked == _GHOSTS_AND_ROWS:
                return found[: query.limit]
            asked = min(asked * 4, _GHOSTS_AND_ROWS)

    async def _among(
        self, vector: Vector, query: Query, filters: SearchFilters, ids: Sequence[ExtractionId]
    ) -> list[Found]:
        named = tuple(str(id_) for id_ in ids)
        return await self._ranked(vector, query, replace(filters, extraction_ids=named))

    async def _matching(
        self, owner: ProjectId | None, query: Query, *, after: ExtractionId | None
    ) -> list[ExtractionId]:
        return await self._database.read(
            lambda session: ExtractionRepository(session).matching_ids(
                query.where, project_id=owner, after=after, limit=self._ids_a_page
            )
        )

    async def _hydrate(self, hits: Sequence[SearchResult], query: Query) -> list[Found]:
        if not hits:
            return []
        scores = {parse_extraction_id(hit.extraction_id): hit.score for hit in hits if _is_ours(hit)}
        ids = list(scores)

        def read(session: ReadSession) -> list[ExtractionRow]:
            extractions = ExtractionRepository(session)
            kept = extractions.keep_matching(ids, query.where) if query.where else ids
            return extractions.get_batch(list(kept))

        owner = None if query.project is None else project_id(query.project)
        rows = {row.id: row for row in await self._database.read(read) if owner in {None, row.project_id}}
        return [Found(score, rows[id_]) for id_, score in scores.items() if id_ in rows]

    async def _require_project(self, name: str) -> None:
        await self._database.read(lambda session: ProjectRepository(session).get(name))


def _check(query: Query) -> None:
    if not query.text.strip():
        raise InvalidInput("the query is empty; say what to look for")
    if len(query.text) > MAX_QUERY_CHARS:
        raise InvalidInput(
            f"the query has {len(query.text):,} characters; at most {MAX_QUERY_CHARS:,} are allowed"
        )
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidInput(f"a limit of {query.limit} is out of range; it may be 1 to {MAX_LIMIT:,}")


def _is_ours(hit: SearchResult) -> bool:
    """Whether the point's id can be an extraction's: other programs may put points into a server's collection."""
    return "-" in hit.extraction_id
