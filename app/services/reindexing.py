"""Rebuild the whole index from SQL with the configured embedder."""

from collections.abc import AsyncGenerator
from dataclasses import asdict

from app.database import Database, WriteSession
from app.domain.text import TextRules
from app.domain.upkeep import Indexed
from app.errors import IndexMismatch, IndexRebuilding, ReindexSuperseded
from app.services.embedding.embedder import Embedder
from app.services.index_use import IndexIdentity, IndexOwnership, identity_of, note_identity, stored_identity
from app.services.indexing import IndexingService
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnfencedUnitOfWork
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.index_state import IndexStateRepository


class ReindexingService:
    """Clears all marks, creates a new collection, and embeds everything again. SQL data stays."""

    def __init__(
        self,
        database: Database,
        qdrant: QdrantRepository,
        embedder: Embedder,
        indexing: IndexingService,
        *,
        text_rules: TextRules,
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._ownership = IndexOwnership(database, qdrant)
        self._embedder = embedder
        self._indexing = indexing
        self._text_rules = text_rules

    @property
    def _identity(self) -> IndexIdentity:
        return identity_of(self._embedder, self._text_rules)

    async def run(self) -> AsyncGenerator[Indexed, None]:
        """Rebuild the index, yielding each batch's counts. After an interruption, call it again.

        It resumes where it stopped. Meanwhile, index jobs wait and searches by meaning are refused.

        Raises:
            ForeignCollection: the collection belongs to another store.
            IndexRebuilding: another reindex has begun since, and supersedes this one.
        """
        generation = await self._open_generation()
        unit = UnfencedUnitOfWork(self._database)
        async for indexed in self._indexing.index_orphans(unit, rebuilding=generation):
            yield indexed
        await self._database.write(lambda session: self._end(session, generation))

    async def reindex(self, job: RunningJob) -> Done:
        """The handler of ``reindex``: its result holds the counts and the embedder.

        The transaction that completes the job makes the index usable again. The next attempt, or
        any other reindex, resumes an interrupted one.

        Raises:
            ReindexSuperseded: another reindex has begun since.
        """
        total, done = await self.total(), Indexed()
        try:
            generation = await self._open_generation()
            await job.report(done=0, total=total)
            async for indexed in self._indexing.index_orphans(job, rebuilding=generation):
                done += indexed
                await job.report(done=done.indexed + done.set_aside, total=total)
        except (IndexRebuilding, IndexMismatch):
            raise ReindexSuperseded from None

        def end(session: WriteSession) -> None:
            try:
                self._end(session, generation)
            except IndexRebuilding:
                raise ReindexSuperseded from None

        return Done({**asdict(done), "embedder": str(self._embedder.identity)}, effect=end)

    async def _open_generation(self) -> int:
        """Begin or resume a generation, and make sure that its collection exists."""
        await self._ownership.require("be rebuilt")
        generation = await self._find_resumable()
        if generation is None:
            generation = await self._start_over()
        await self._qdrant.init_collection(await self._ownership.store_id())
        return generation

    async def total(self) -> int:
        """How many extractions the next call of :meth:`run` has to embed."""
        if await self._find_resumable() is not None:
            return await self._database.read(lambda session: ExtractionRepository(session).count_orphaned())
        return await self._database.read(lambda session: ExtractionRepository(session).count())

    async def _find_resumable(self) -> int | None:
        """The generation of an interrupted reindex with this embedder and these text rules.

        None unless its collection exists. Marks are cleared before the old collection is dropped
        and set only for the new one, so a mark and a collection prove that it is the new one.
        """
        state = await self._database.read(lambda session: IndexStateRepository(session).get())
        if state is None or not state.rebuilding or stored_identity(state) != self._identity:
            return None
        marked = await self._database.read(lambda session: ExtractionRepository(session).any_marked())
        return state.generation if marked and await self._qdrant.find_collection() is not None else None

    async def _start_over(self) -> int:
        """Begin a generation and drop the previous collection; return the generation.

        If another reindex begins before the drop is done, the drop may have hit its collection.
        This one then begins again, which ends the other.
        """
        while True:
            generation = await self._database.write(self._begin)
            await self._qdrant.drop_collection()
            state = await self._database.read(lambda session: IndexStateRepository(session).get())
            if state is not None and state.generation == generation:
                return generation

    def _begin(self, session: WriteSession) -> int:
        """Begin a generation in a transaction that excludes all that mark rows.

        So no row stays marked for the dropped collection.
        """
        state = IndexStateRepository(session).get_for_rebuilding()
        generation = 1 if state is None else state.generation + 1
        ExtractionRepository(session).clear_all_embedding_ids()
        note_identity(session, self._identity, rebuilding=True, generation=generation)
        return generation

    def _end(self, session: WriteSession, generation: int) -> None:
        state = IndexStateRepository(session).get_for_rebuilding()
        if state is None or state.generation != generation:
            raise IndexRebuilding
        note_identity(session, self._identity, generation=generation)
