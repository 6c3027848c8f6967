"""Bring Qdrant in line with what was stored or deleted: the handlers of the two index jobs."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.database import Database, ReadSession, WriteSession
from app.errors import (
    AgentStorageError,
    EmbedderMismatch,
    EmbeddingRejected,
    IndexMissing,
    InvalidInput,
    LeaseLost,
    ReindexUnfinished,
)
from app.models import ExtractionId, IndexState, JobType
from app.services.embedding.embedder import Embedder, EmbedderIdentity
from app.services.embedding.text import text_of
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.job import ClaimedJob, JobRepository
from app.services.storage.repositories.waiting import WaitingRow, find_waiting

logger = logging.getLogger(__name__)

INDEX_JOBS = (JobType.EMBED, JobType.DELETE_VECTORS)


@dataclass(frozen=True, slots=True)
class Indexed:
    """How many extractions got their vector, and how many were set aside because they can't have one."""

    indexed: int = 0
    set_aside: int = 0

    def __add__(self, other: "Indexed") -> "Indexed":
        return Indexed(self.indexed + other.indexed, self.set_aside + other.set_aside)


class IndexingService:
    """Embeds extractions, puts their vectors into Qdrant and marks their rows.

    ``exclusive`` says that no other process can run index jobs on these stores (the embedded engine admits one
    process), so a job found running is one that a dead process left.
    """

    def __init__(  # noqa: PLR0913 - three parts and three settings
        self,
        database: Database,
        qdrant: QdrantRepository,
        embedder: Embedder,
        *,
        text_fields: Sequence[str],
        lease_s: float,
        exclusive: bool,
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._embedder = embedder
        self._text_fields = tuple(text_fields)
        self._lease_s = lease_s
        self._exclusive = exclusive

    async def open(self, *, mend: bool = False) -> None:
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

    async def recover(self) -> int:
        """Queue again the index jobs that a dead process left running; 0 unless this process is the only one."""
        if not self._exclusive:
            return 0
        return await self._database.write(lambda session: JobRepository(session).requeue_running(INDEX_JOBS))

    async def run_next(self, types: Sequence[JobType] = INDEX_JOBS) -> Indexed | None:
        """Claim the most urgent index job of these types, run it and settle it; None when none is waiting.

        Its lease is renewed while it runs. A job that fails for a passing reason goes back into the queue and the error is raised; one that fails
        for good is settled as failed, and the error is raised.
        """
        claimed = await self._database.write(
            lambda session: JobRepository(session).claim(types, limit=1, lease_s=self._lease_s)
        )
        if not claimed:
            return None
        job = claimed[0]
        heartbeat = asyncio.create_task(self._keep(job))
        try:
            return await self._run(job)
        except LeaseLost:
            logger.warning("job %s was taken over; its outcome is the other worker's", job.id)
            return Indexed()
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(job))
            raise
        except AgentStorageError as error:
            if error.retryable or isinstance(error, EmbedderMismatch):
                await self._give_back(job)
            else:
                reason = str(error)
                await self._database.write(lambda s: JobRepository(s).fail(job.id, job.attempt, reason))
            raise
        finally:
            heartbeat.cancel()

    async def index(self, ids: Sequence[ExtractionId]) -> Indexed:
        """Give these extractions their vectors, and mark them. Ids that are gone or marked are passed over."""
        vectors = await self._make_vectors(ids)
        await self._database.write(lambda session: self._mark(session, vectors))
        return vectors.counts()

    async def _run(self, job: ClaimedJob) -> Indexed:
        ids = [ExtractionId(id_) for id_ in job.extraction_ids()]
        if job.type == JobType.DELETE_VECTORS:
            return await self._delete(job, ids)
        vectors = await self._make_vectors(ids)
        counts = vectors.counts()

        def settle(session: WriteSession) -> None:
            result = {"indexed": counts.indexed, "set_aside": counts.set_aside}
            JobRepository(session).complete(job.id, job.attempt, result)
            self._mark(session, vectors)

        await self._database.write(settle)
        return counts

    async def _delete(self, job: ClaimedJob, ids: list[ExtractionId]) -> Indexed:
        """Delete the vectors of rows that are gone; a row handed in again meanwhile gets its vector anew."""
        kept = await self._database.read(lambda session: ExtractionRepository(session).existing_ids(ids))
        deleted = await self._qdrant.delete_batch([str(id_) for id_ in ids if id_ not in kept])

        def settle(session: WriteSession) -> None:
            JobRepository(session).complete(job.id, job.attempt, {"deleted": deleted})
            extractions = ExtractionRepository(session)
            returned = extractions.existing_ids(ids) - kept
            if returned:
                extractions.clear_embedding_ids_batch(returned)
                enqueue_embedding(session, returned)

        await self._database.write(settle)
        return Indexed()

    async def _keep(self, job: ClaimedJob) -> None:
        """Renew the job's lease until cancelled; a lease that is lost shows when the job is settled."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            with suppress(AgentStorageError):
                await self._database.write(
                    lambda session: JobRepository(session).renew(job.id, job.attempt, self._lease_s)
                )

    async def _is_free_to_choose(self, state: IndexState, *, marked: bool) -> bool:
        """Whether another embedder may take over, because the one before has made nothing."""
        if marked or stored_identity(state) == self._embedder.identity or not await self._qdrant.is_empty():
            return False
        await self._qdrant.drop_collection()
        return True

    def _check(self, state: IndexState | None) -> None:
        if state is not None and stored_identity(state) != self._embedder.identity:
            raise EmbedderMismatch(str(stored_identity(state)), str(self._embedder.identity))

    def _mark(self, session: WriteSession, outcome: "_Outcome") -> None:
        """Mark what Qdrant acknowledged; a vector whose row was deleted meanwhile is queued for deletion.

        If another process has begun to rebuild the index with another embedder, nothing is marked.
        """
        self._check(IndexStateRepository(session).get())
        extractions = ExtractionRepository(session)
        if extractions.update_embedding_ids_batch(outcome.indexed) < len(outcome.indexed):
            gone = set(outcome.indexed) - extractions.existing_ids(outcome.indexed)
            if gone:
                JobRepository(session).create(
                    JobType.DELETE_VECTORS, {"extraction_ids": [str(id_) for id_ in gone]}
                )
        if outcome.set_aside:
            extractions.set_aside(outcome.set_aside)

    async def _give_back(self, job: ClaimedJob) -> None:
        with suppress(LeaseLost):  # it was being settled when its caller left
            await self._database.write(lambda session: JobRepository(session).release(job.id, job.attempt))

    async def _make_vectors(self, ids: Sequence[ExtractionId]) -> "_Outcome":
        outcome = _Outcome()
        texts = await self._database.read(lambda session: self._texts(session, ids, outcome))
        await self._embed_into(outcome, texts)
        return outcome

    def _texts(self, session: ReadSession, ids: Sequence[ExtractionId], outcome: "_Outcome") -> list["_Text"]:
        """Runs on the database's thread, because a thousand rows would hold up the event loop."""
        self._check(IndexStateRepository(session).get())
        texts = []
        for row in find_waiting(session, ids):
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
        outcome.indexed += await self._qdrant.upsert_batch(points)


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


def enqueue_embedding(session: WriteSession, ids: Sequence[ExtractionId] | set[ExtractionId]) -> None:
    """Queue the job that gives these extractions their vectors, in the caller's transaction."""
    JobRepository(session).create(JobType.EMBED, {"extraction_ids": [str(id_) for id_ in ids]})


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
