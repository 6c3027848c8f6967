"""Rebuild the whole index from SQL, with the configured embedder."""

from collections.abc import AsyncGenerator, AsyncIterator

from app.database import Database, WriteSession
from app.domain.ids import ExtractionId, ProjectId
from app.services.embedding.embedder import Embedder
from app.services.indexing import Indexed, IndexingService, note_identity, stored_identity
from app.services.jobs.unit_of_work import UnfencedUnitOfWork, UnitOfWork
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.index_state import IndexStateRepository


class ReindexingService:
    """Clears every mark, makes a new collection, and embeds everything again. The SQL data stays."""

    def __init__(
        self,
        database: Database,
        qdrant: QdrantRepository,
        embedder: Embedder,
        indexing: IndexingService,
        *,
        batch_size: int,
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._embedder = embedder
        self._indexing = indexing
        self._batch_size = batch_size

    async def run(self) -> AsyncGenerator[Indexed, None]:
        """Rebuild, yielding what each batch brought. Cut short, the next call goes on where this one stopped."""
        if not await self._resumable():
            await self._database.write(self._begin)
            await self._qdrant.drop_collection()
        await self._qdrant.init_collection()
        async for indexed in index_orphans(
            self._database, self._indexing, self._batch_size, UnfencedUnitOfWork(self._database)
        ):
            yield indexed
        await self._database.write(lambda session: note_identity(session, self._embedder.identity))

    async def total(self) -> int:
        """How many extractions the next call of :meth:`run` has to embed."""
        if await self._resumable():
            return await self._database.read(lambda session: ExtractionRepository(session).count_orphaned())
        return await self._database.read(lambda session: ExtractionRepository(session).count())

    async def _resumable(self) -> bool:
        """Whether a reindex with this embedder was cut short after its collection was made anew.

        Marks are cleared before the old collection is dropped and set only in the new one, so a mark and a
        collection prove that the new one stands.
        """
        state = await self._database.read(lambda session: IndexStateRepository(session).get())
        if state is None or not state.rebuilding or stored_identity(state) != self._embedder.identity:
            return False
        marked = await self._database.read(lambda session: ExtractionRepository(session).any_marked())
        return marked and await self._qdrant.exists()

    def _begin(self, session: WriteSession) -> None:
        ExtractionRepository(session).clear_all_embedding_ids()
        note_identity(session, self._embedder.identity, rebuilding=True)


async def index_orphans(
    database: Database,
    indexing: IndexingService,
    batch_size: int,
    unit: UnitOfWork,
    project_id: ProjectId | None = None,
) -> AsyncIterator[Indexed]:
    """Give every orphan, of a project or of all, its vector: in the order of ids, ``batch_size`` at a time."""
    after: ExtractionId | None = None
    while orphans := await _orphans_after(database, after, batch_size, project_id):
        yield await indexing.index(orphans, unit)
        after = orphans[-1]


async def _orphans_after(
    database: Database, after: ExtractionId | None, limit: int, project_id: ProjectId | None
) -> list[ExtractionId]:
    return await database.read(
        lambda session: ExtractionRepository(session).find_orphaned(
            after=after, limit=limit, project_id=project_id
        )
    )
