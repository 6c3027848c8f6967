"""Bring Qdrant in line with SQL: the handlers of the index jobs."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

from sqlalchemy.orm import Session

from app.database import Database, ReadSession, WriteSession
from app.domain.ids import ExtractionId, ProjectId
from app.domain.text import TextRules, text_of
from app.domain.upkeep import Indexed
from app.errors import CollectionMissing, IndexMismatch, IndexMissing, IndexRebuilding, InvalidInput
from app.models import IndexState
from app.services.embedding.embedder import Embedder
from app.services.index_use import (
    IndexIdentity,
    IndexOwnership,
    identity_of,
    note_identity,
    require_same,
    require_usable,
    stored_identity,
)
from app.services.jobs.queueing import (
    queue_changed_payloads,
    queue_embedding_again,
    queue_ghosts_deletion,
)
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnitOfWork
from app.services.metrics.instruments import Instruments, NullInstruments
from app.services.storage.qdrant.ports import Payload
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.indexable import iter_waiting, labels_of
from app.services.vectors import MadeVectors, TextToEmbed, VectorMaker, payload_of


class IndexingService:
    """Embeds extractions, upserts their vectors and marks their rows, ``batch_size`` at a time."""

    def __init__(  # noqa: PLR0913 - each is a separate part or setting
        self,
        database: Database,
        qdrant: QdrantRepository,
        embedder: Embedder,
        *,
        text_rules: TextRules,
        batch_size: int,
        max_chars: int | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._ownership = IndexOwnership(database, qdrant)
        self._embedder = embedder
        self._vectors = VectorMaker(qdrant, embedder)
        self._text_rules = text_rules
        self._batch_size = batch_size
        self._max_chars = max_chars
        self._instruments = instruments or NullInstruments()

    async def prepare(self, *, repair: bool = False) -> None:
        """Make sure that the configured embedder can use the index, creating a missing collection.

        ``repair`` allows creating a lost collection again, for a repair that will fill it.

        Raises:
            ForeignCollection: the collection belongs to another store.
            EmbedderMismatch: another embedder made its vectors.
            TextsMismatch: its vectors were made from other texts.
            IndexRebuilding: a reindex is under way, or was interrupted.
            IndexMissing: rows are marked, but there is no collection.
            CollectionMismatch: the collection has another vector size or distance.
        """
        await self._ownership.require("be used")
        state, marked = await self._database.read(_look)
        if state is None or await self._is_free_to_choose(state, marked=marked):
            generation = 0 if state is None else state.generation + 1
            state = await self._database.write(
                lambda session: note_identity(session, self._identity, generation=generation)
            )
        require_usable(state, self._identity)
        if marked and not repair and await self._qdrant.find_collection() is None:
            raise IndexMissing
        await self._qdrant.init_collection(await self._ownership.store_id())

    @property
    def _identity(self) -> IndexIdentity:
        return identity_of(self._embedder, self._text_rules)

    async def ping(self) -> None:
        """Raise unless the index can be searched now, as far as is known without a search.

        Raises:
            IndexRebuilding: a reindex is under way, or was interrupted.
            IndexMissing: extractions are marked, but there is no collection.
            CollectionMissing: there is no collection yet.
        """
        state, marked = await self._database.read(_look)
        if state is not None and state.rebuilding:
            raise IndexRebuilding
        if await self._qdrant.look_at_collection() is None:
            raise (
                IndexMissing
                if marked
                else CollectionMissing("search", self._qdrant.collection, "it isn't created yet")
            )

    async def index(
        self, ids: Sequence[ExtractionId], unit: UnitOfWork, *, rebuilding: int | None = None
    ) -> Indexed:
        """Embed these extractions and mark them, skipping ids that are deleted or marked.

        ``rebuilding`` is the generation that a rebuild makes; only the rebuild passes it. All
        other index jobs wait for the rebuild.

        Raises:
            IndexRebuilding, IndexMismatch: the index can't take these vectors, or can't since a
                rebuild began.
        """
        vectors = await self._make_vectors(ids, rebuilding=rebuilding)
        try:
            await self._save(vectors, ids, unit)
        except (IndexRebuilding, IndexMismatch):
            # A rebuild began meanwhile, and these vectors may have overwritten those it made.
            await self._database.write(lambda session: queue_embedding_again(session, vectors.indexed))
            raise
        return vectors.counts()

    async def index_orphans(
        self, unit: UnitOfWork, project_id: ProjectId | None = None, *, rebuilding: int | None = None
    ) -> AsyncIterator[Indexed]:
        """Embed all orphans, of one project or all, in the order of ids, a batch at a time."""
        after: ExtractionId | None = None
        while orphans := await self._orphans_after(after, project_id):
            yield await self.index(orphans, unit, rebuilding=rebuilding)
            after = orphans[-1]

    async def embed(self, job: RunningJob) -> Done:
        """The handler of ``embed``: embeds the job's extractions and marks them.

        It includes marked rows: an earlier attempt may have marked a row that was deleted and
        stored again, and whose vector is gone. An extraction that is deleted meanwhile leaves no
        vector, whether this attempt finishes, the next one, or the one that runs after this one has
        lost its lease.
        """
        ids = job.extraction_ids()
        job.note_progress(done=0, total=len(ids))
        if job.attempt > 1:
            await job.save(lambda session: self._delete_ghosts_when_usable(session, ids))
        counts = Indexed()
        for start in range(0, len(ids), self._batch_size):
            batch = ids[start : start + self._batch_size]
            vectors = await self._make_vectors(batch, include_marked=True)
            job.note_progress(done=start + len(batch), total=len(ids))
            await self._save(vectors, batch, job)
            counts += vectors.counts()
        if job.attempt > 1:  # an earlier attempt did some of the work
            marks = await self._database.read(lambda session: ExtractionRepository(session).count_marks(ids))
            counts = Indexed(*marks, counts.cut)
        return Done(asdict(counts))

    async def delete_vectors(self, job: RunningJob) -> Done:
        """The handler of ``delete_vectors``: deletes the vectors of deleted rows.

        A row that is stored again meanwhile is embedded again, whichever attempt finishes.
        """
        ids = job.extraction_ids()
        job.note_progress(done=0, total=len(ids))
        if job.attempt > 1:
            await job.save(lambda session: self._embed_returned_when_usable(session, ids))
        deleted = 0
        for start in range(0, len(ids), self._batch_size):
            deleted += await self._delete_batch(job, start, ids)
        return Done({"deleted": deleted})

    async def update_payload(self, job: RunningJob) -> Done:
        """The handler of ``update_payload``: sets the points' payloads to what SQL says.

        Rows without a vector are skipped: they get their payload with the vector.
        """
        ids = job.extraction_ids()
        for start in range(0, len(ids), self._batch_size):
            batch = ids[start : start + self._batch_size]
            job.note_progress(done=start + len(batch), total=len(ids))
            await self.sync_payloads(batch, job)
        return Done({"updated": len(ids)})

    async def sync_payloads(self, ids: Sequence[ExtractionId], unit: UnitOfWork) -> None:
        """Set the payloads of these extractions' points from their rows.

        If a row changes while its payload is being written, a new job updates the payload again. So
        the last payload written always comes from the latest row.

        Raises:
            IndexRebuilding, IndexMismatch: the index can't be used now.
        """
        payloads = await self._database.read(lambda session: self._payloads_now(session, ids))
        await self._qdrant.set_payloads(payloads)

        def update_changed(session: WriteSession) -> None:
            queue_changed_payloads(session, payloads, self._payloads_now(session, ids))

        await unit.save(update_changed, compensation=update_changed)

    async def _delete_batch(self, job: RunningJob, start: int, ids: Sequence[ExtractionId]) -> int:
        """Delete the vectors of deleted rows in the batch from ``start``; return how many."""
        batch = ids[start : start + self._batch_size]
        kept = await self._database.read(lambda session: self._existing_when_usable(session, batch))
        deleted = await self._qdrant.delete_batch([id_ for id_ in batch if id_ not in kept])

        def queue_returned(session: WriteSession) -> None:
            queue_embedding_again(session, [id_ for id_ in batch if id_ not in kept])

        job.note_progress(done=start + len(batch), total=len(ids))
        await job.save(queue_returned, compensation=queue_returned)
        return deleted

    def _require_usable(self, session: Session) -> int:
        """Raise unless the index can be written to now; return its generation."""
        state = IndexStateRepository(session).get()
        require_usable(state, self._identity)
        return 0 if state is None else state.generation

    def _existing_when_usable(self, session: Session, ids: Sequence[ExtractionId]) -> set[ExtractionId]:
        self._require_usable(session)
        return ExtractionRepository(session).existing_ids(ids)

    def _delete_ghosts_when_usable(self, session: WriteSession, ids: Sequence[ExtractionId]) -> None:
        self._require_usable(session)
        queue_ghosts_deletion(session, ids)

    def _embed_returned_when_usable(self, session: WriteSession, ids: Sequence[ExtractionId]) -> None:
        self._require_usable(session)
        queue_embedding_again(session, ids)

    def _payloads_now(self, session: Session, ids: Sequence[ExtractionId]) -> dict[str, Payload]:
        generation = self._require_usable(session)
        return {row.id: payload_of(row, generation) for row in labels_of(session, ids)}

    async def _orphans_after(
        self, after: ExtractionId | None, project_id: ProjectId | None
    ) -> list[ExtractionId]:
        return await self._database.read(
            lambda session: ExtractionRepository(session).find_orphaned(
                after=after, limit=self._batch_size, project_id=project_id
            )
        )

    async def _is_free_to_choose(self, state: IndexState, *, marked: bool) -> bool:
        """Whether another embedder or text rules may take over, because the index is empty.

        If so, the empty collection is dropped.
        """
        if marked or state.rebuilding or stored_identity(state) == self._identity:
            return False
        if not await self._qdrant.is_empty():
            return False
        await self._qdrant.drop_collection()
        return True

    async def _save(self, vectors: MadeVectors, ids: Sequence[ExtractionId], unit: UnitOfWork) -> None:
        # Without the compensation, a late upsert leaves a ghost: docs/decisions/lost-lease.md
        await unit.save(
            lambda session: self._mark(session, vectors),
            compensation=lambda session: _compensate(session, vectors, ids),
        )

    def _mark(self, session: WriteSession, outcome: MadeVectors) -> None:
        """Mark rows whose vectors Qdrant acknowledged; queue deletion of vectors without a row.

        If a rebuild began meanwhile, it raises and marks nothing: the collection may be another.
        """
        state = IndexStateRepository(session).get_for_marking()
        self._require_same(state, outcome)
        extractions = ExtractionRepository(session)
        if extractions.update_embedding_ids_batch(outcome.indexed) < len(outcome.indexed):
            queue_ghosts_deletion(session, outcome.indexed)
        if outcome.set_aside:
            extractions.set_aside(outcome.set_aside)
        now = {row.id: payload_of(row, outcome.generation) for row in labels_of(session, outcome.indexed)}
        queue_changed_payloads(session, outcome.payloads, now)

    def _require_same(self, state: IndexState | None, outcome: MadeVectors) -> None:
        """Raise unless the index is still the one that the vectors were made for."""
        if outcome.rebuilding is None:
            require_usable(state, self._identity)
        elif state is not None:
            require_same(state, self._identity)
        if state is not None and state.generation != outcome.generation:
            raise IndexRebuilding  # another rebuild began since, and may have ended

    async def _make_vectors(
        self, ids: Sequence[ExtractionId], *, include_marked: bool = False, rebuilding: int | None = None
    ) -> MadeVectors:
        outcome = MadeVectors(rebuilding=rebuilding)
        texts = await self._database.read(
            lambda session: self._texts(session, ids, outcome, include_marked=include_marked)
        )
        await self._vectors.make(outcome, texts)
        self._instruments.cut_texts(outcome.counts().cut)
        return outcome

    def _texts(
        self, session: ReadSession, ids: Sequence[ExtractionId], outcome: MadeVectors, *, include_marked: bool
    ) -> list[TextToEmbed]:
        """The texts to embed. Runs on the database's thread: 1,000 rows would block the loop."""
        state = IndexStateRepository(session).get()
        current = 0 if state is None else state.generation
        outcome.generation = current if outcome.rebuilding is None else outcome.rebuilding
        self._require_same(state, outcome)
        texts = []
        for row in iter_waiting(session, ids, include_marked=include_marked):
            outcome.payloads[row.id] = payload = payload_of(row, outcome.generation)
            try:
                whole = text_of(row.extraction_type, row.data, self._text_rules)
                texts.append(TextToEmbed(whole, id=row.id, payload=payload).shortened(self._max_chars))
            except InvalidInput as error:  # it was accepted when other text fields were configured
                outcome.set_aside[row.id] = str(error)
        return texts


def _compensate(session: WriteSession, vectors: MadeVectors, ids: Sequence[ExtractionId]) -> None:
    """Clean up after a lost lease: delete ghosts, and redo vectors made for an older generation."""
    queue_ghosts_deletion(session, ids)
    state = IndexStateRepository(session).get_for_marking()
    if state is not None and state.generation != vectors.generation:
        queue_embedding_again(session, vectors.indexed)


def _look(session: ReadSession) -> tuple[IndexState | None, bool]:
    return IndexStateRepository(session).get(), ExtractionRepository(session).any_marked()
