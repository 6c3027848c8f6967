"""Bring Qdrant in line with what was stored or deleted: the handlers of the two index jobs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.database import Database, ReadSession, WriteSession
from app.domain.ids import ExtractionId
from app.domain.jobs import JobType
from app.domain.text import text_of
from app.errors import (
    EmbedderMismatch,
    EmbeddingRejected,
    IndexMissing,
    InvalidInput,
    InvalidVector,
    ReindexUnfinished,
)
from app.models import IndexState
from app.services.embedding.embedder import Embedder, EmbedderIdentity
from app.services.extractions import queue_vectors_deletion
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnitOfWork
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.waiting import WaitingRow, iter_waiting


@dataclass(frozen=True, slots=True)
class Indexed:
    """How many extractions got their vector, and how many were set aside because they can't have one."""

    indexed: int = 0
    set_aside: int = 0

    def __add__(self, other: "Indexed") -> "Indexed":
        return Indexed(self.indexed + other.indexed, self.set_aside + other.set_aside)


class IndexingService:
    """Embeds extractions, puts their vectors into Qdrant and marks their rows, ``batch_size`` at a time."""

    def __init__(
        self,
        database: Database,
        qdrant: QdrantRepository,
        embedder: Embedder,
        *,
        text_fields: Sequence[str],
        batch_size: int,
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._embedder = embedder
        self._text_fields = tuple(text_fields)
        self._batch_size = batch_size

    async def prepare(self, *, mend: bool = False) -> None:
        """Make sure that the index can be used with the configured embedder, creating the collection if need be.

        ``mend`` lets a lost collection be made anew, for a repair that will fill it.

        Raises:
            EmbedderMismatch: its vectors were made by another embedder.
            ReindexUnfinished: a reindex was interrupted.
            IndexMissing: rows are marked, and there is no collection.
            CollectionMismatch: the collection is of another size or distance.
        """
        state, marked = await self._database.read(_look)
        if state is None or await self._is_free_to_choose(state, marked=marked):
            state = await self._database.write(lambda s: note_identity(s, self._embedder.identity))
        self._check(state)
        if state.rebuilding:
            raise ReindexUnfinished
        if marked and not mend and not await self._qdrant.exists():
            raise IndexMissing
        await self._qdrant.init_collection()

    async def index(self, ids: Sequence[ExtractionId], unit: UnitOfWork) -> Indexed:
        """Give these extractions their vectors, and mark them. Ids that are gone or marked are passed over."""
        vectors = await self._make_vectors(ids)
        await self._save(vectors, ids, unit)
        return vectors.counts()

    async def embed(self, job: RunningJob) -> Done:
        """The handler of ``embed``: gives the job's extractions their vectors, and marks them.

        Those that are marked already too: an attempt at a row that was deleted and returned may have marked it,
        and its vector be gone. No vector is left of an extraction that is deleted meanwhile, whoever gets to the
        end of it: this attempt, the next, or the one that runs after this one has lost its lease.
        """
        ids = job.extraction_ids()
        job.note_progress(done=0, total=len(ids))
        if job.attempt > 1:
            await job.save(lambda session: _delete_ghosts(session, ids))
        counts = Indexed()
        for start in range(0, len(ids), self._batch_size):
            batch = ids[start : start + self._batch_size]
            vectors = await self._make_vectors(batch, anew=True)
            job.note_progress(done=start + len(batch), total=len(ids))
            await self._save(vectors, batch, job)
            counts += vectors.counts()
        if job.attempt > 1:  # some of it was an earlier attempt's
            marks = await self._database.read(lambda session: ExtractionRepository(session).count_marks(ids))
            counts = Indexed(*marks)
        return Done({"indexed": counts.indexed, "set_aside": counts.set_aside})

    async def delete_vectors(self, job: RunningJob) -> Done:
        """The handler of ``delete_vectors``: deletes the vectors of rows that are gone.

        A row handed in again meanwhile gets its vector anew, whoever gets to the end of it.
        """
        ids = job.extraction_ids()
        job.note_progress(done=0, total=len(ids))
        if job.attempt > 1:
            await job.save(lambda session: embed_returned(session, ids))
        deleted = 0
        for start in range(0, len(ids), self._batch_size):
            deleted += await self._delete_batch(job, start, ids)
        return Done({"deleted": deleted})

    async def _delete_batch(self, job: RunningJob, start: int, ids: Sequence[ExtractionId]) -> int:
        """Delete the vectors of the batch that begins at ``start``, of rows that are gone; returns how many."""
        batch = ids[start : start + self._batch_size]
        kept = await existing_ids(self._database, batch)
        deleted = await self._qdrant.delete_batch([str(id_) for id_ in batch if id_ not in kept])

        def queue_returned(session: WriteSession) -> None:
            embed_returned(session, batch, kept)

        job.note_progress(done=start + len(batch), total=len(ids))
        await job.save(queue_returned, compensation=queue_returned)
        return deleted

    async def _is_free_to_choose(self, state: IndexState, *, marked: bool) -> bool:
        """Whether another embedder may take over, because the one before has made nothing."""
        if marked or stored_identity(state) == self._embedder.identity or not await self._qdrant.is_empty():
            return False
        await self._qdrant.drop_collection()
        return True

    def _check(self, state: IndexState | None) -> None:
        if state is not None and stored_identity(state) != self._embedder.identity:
            raise EmbedderMismatch(str(stored_identity(state)), str(self._embedder.identity))

    async def _save(self, vectors: "_Outcome", ids: Sequence[ExtractionId], unit: UnitOfWork) -> None:
        await unit.save(
            lambda session: self._mark(session, vectors),
            compensation=lambda session: _delete_ghosts(session, ids),
        )

    def _mark(self, session: WriteSession, outcome: "_Outcome") -> None:
        """Mark what Qdrant acknowledged; a vector whose row was deleted meanwhile is queued for deletion.

        If another process has begun to rebuild the index with another embedder, nothing is marked.
        """
        self._check(IndexStateRepository(session).get())
        extractions = ExtractionRepository(session)
        if extractions.update_embedding_ids_batch(outcome.indexed) < len(outcome.indexed):
            _delete_ghosts(session, outcome.indexed)
        if outcome.set_aside:
            extractions.set_aside(outcome.set_aside)

    async def _make_vectors(self, ids: Sequence[ExtractionId], *, anew: bool = False) -> "_Outcome":
        outcome = _Outcome()
        texts = await self._database.read(lambda session: self._texts(session, ids, outcome, anew=anew))
        await self._embed_into(outcome, texts)
        return outcome

    def _texts(
        self, session: ReadSession, ids: Sequence[ExtractionId], outcome: "_Outcome", *, anew: bool
    ) -> list["_Text"]:
        """Runs on the database's thread, because a thousand rows would hold up the event loop."""
        self._check(IndexStateRepository(session).get())
        texts = []
        for row in iter_waiting(session, ids, anew=anew):
            try:
                texts.append(_Text(row.id, text_of(row.data, self._text_fields), _payload(row)))
            except InvalidInput as error:  # it was accepted under other text fields
                outcome.set_aside[row.id] = str(error)
        return texts

    async def _embed_into(self, outcome: "_Outcome", texts: Sequence["_Text"]) -> None:
        """Embed and upsert; where the embedder refuses a batch, halve it until the one to blame stands alone."""
        if not texts:
            return
        try:
            vectors = await self._embedder.embed([each.text for each in texts])
        except EmbeddingRejected as error:
            if len(texts) == 1:
                outcome.set_aside[texts[0].id] = str(error)
                return
            middle = len(texts) // 2
            await self._embed_into(outcome, texts[:middle])
            await self._embed_into(outcome, texts[middle:])
            return
        points = [EmbeddingItem(each.id, row, each.payload) for each, row in zip(texts, vectors, strict=True)]
        await self._upsert_into(outcome, points)

    async def _upsert_into(self, outcome: "_Outcome", points: list[EmbeddingItem]) -> None:
        """Upsert; a vector that can't be stored is set aside, and the others go on."""
        while points:
            try:
                outcome.indexed += await self._qdrant.upsert_batch(points)
            except InvalidVector as error:
                poison = points.pop(error.index)
                outcome.set_aside[poison.extraction_id] = f"its vector {error.reason}"
            else:
                return


class _Text(NamedTuple):
    """What is embedded for an extraction, and what Qdrant keeps beside the vector to filter by."""

    id: str
    text: str
    payload: dict[str, Any]


class _Outcome:
    """The ids whose vectors Qdrant has acknowledged, and those that can't have one, with the reason."""

    def __init__(self) -> None:
        self.indexed: list[str] = []
        self.set_aside: dict[str, str] = {}

    def counts(self) -> Indexed:
        return Indexed(len(self.indexed), len(self.set_aside))


async def existing_ids(database: Database, ids: Sequence[ExtractionId]) -> set[ExtractionId]:
    """Those of ``ids`` that have a row now."""
    return await database.read(lambda session: ExtractionRepository(session).existing_ids(ids))


def _delete_ghosts(session: WriteSession, ids: Sequence[ExtractionId] | Sequence[str]) -> None:
    """Queue the deletion of the vectors whose rows are gone."""
    if gone := {str(id_) for id_ in ids} - {
        str(id_) for id_ in ExtractionRepository(session).existing_ids(ids)
    }:
        queue_vectors_deletion(session, gone)


def embed_returned(
    session: WriteSession,
    ids: Sequence[ExtractionId] | Sequence[str],
    kept: Collection[ExtractionId] = (),
) -> None:
    """Queue the rows that were handed in again while their vectors were being deleted, but those that were ``kept``."""
    extractions = ExtractionRepository(session)
    returned = extractions.existing_ids(ids) - set(kept)
    if returned:
        extractions.clear_embedding_ids_batch(returned)
        JobRepository(session).create(JobType.EMBED, {"extraction_ids": [str(id_) for id_ in returned]})


def stored_identity(state: IndexState) -> EmbedderIdentity:
    """The embedder that made the stored vectors."""
    return EmbedderIdentity(state.embedder_name, state.embedder_version, state.dimension)


def note_identity(session: WriteSession, identity: EmbedderIdentity, *, rebuilding: bool = False) -> IndexState:
    """Say which embedder makes the vectors from now on."""
    return IndexStateRepository(session).put(
        identity.name, identity.version, identity.dimension, rebuilding=rebuilding
    )


def _look(session: ReadSession) -> tuple[IndexState | None, bool]:
    return IndexStateRepository(session).get(), ExtractionRepository(session).any_marked()


def _payload(row: WaitingRow) -> dict[str, Any]:
    return {
        "project_id": row.project_id,
        "source_group": row.source_group,
        "extraction_type": row.extraction_type,
        "confidence": row.confidence,
    }
