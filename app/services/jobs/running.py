"""The interface of job handlers: the running job that they get, and their result."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from app.database import Database, WriteSession
from app.domain.ids import ExtractionId, JobId, parse_extraction_id
from app.domain.jobs import JobStatus
from app.errors import JobCancelled, LeaseLost
from app.services.storage.repositories.lease import ClaimedJob, LeaseRepository

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """A job has succeeded. ``result`` is stored with it, as JSON.

    ``effect`` runs in the transaction that settles the job, and only if its lease still holds, so
    it takes effect exactly once.
    """

    result: Mapping[str, Any] | None = None
    effect: Callable[[WriteSession], None] | None = None


class RunningJob:
    """A claimed job, as its handler sees it. It lives on one event loop, from claim to settlement.

    It is the :class:`UnitOfWork` whose writes are fenced by the job's lease.
    """

    def __init__(self, claimed: ClaimedJob, database: Database, lease_s: float) -> None:
        """Must be called on the event loop on which the handler will run."""
        self.id: JobId = claimed.id
        self.type = claimed.type
        self.payload = claimed.payload
        self.attempt = claimed.attempt
        self.failures = claimed.failures
        self.cancel_requested = False
        self.lease_lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done as soon as the heartbeat learns that the lease is lost."""
        self._database = database
        self._lease_s = lease_s
        self._done = 0
        self._total: int | None = None

    def extraction_ids(self) -> list[ExtractionId]:
        """The ids of an index job's extractions."""
        return [parse_extraction_id(text) for text in self.payload["extraction_ids"]]

    def note_progress(self, *, done: int, total: int | None = None) -> None:
        """Set the attempt's progress; the next :meth:`save` writes it."""
        self._done, self._total = done, total

    def lose_lease(self) -> None:
        """Note that the lease is lost: the attempt must be cancelled, as another may run."""
        if not self.lease_lost.done():
            self.lease_lost.set_result(None)

    async def save(
        self,
        work: Callable[[WriteSession], T],
        *,
        compensation: Callable[[WriteSession], object] | None = None,
    ) -> T:
        """Run ``work`` in a transaction that holds and renews the lease and writes the progress.

        Write each batch's outcome this way: if the lease is lost, nothing of ``work`` is written,
        and ``compensation`` runs without the lease.

        Raises:
            LeaseLost: another worker may be running the job.
            JobCancelled: the job was asked to stop; what ``work`` wrote is committed.
        """

        def fenced(session: WriteSession) -> tuple[JobStatus, T]:
            leases = LeaseRepository(session)
            status = leases.hold(
                self.id, self.attempt, lease_s=self._lease_s, done=self._done, total=self._total
            )
            return status, work(session)

        try:
            status, result = await self._database.write(fenced, exempt_from_max_waiting=True)
        except LeaseLost:
            if compensation is not None:
                await self._database.write(compensation)
            raise
        if status == JobStatus.CANCELLING or self.cancel_requested:
            raise JobCancelled(self.id)
        return result

    async def report(self, *, done: int, total: int | None = None) -> None:
        """Renew the lease and write the progress; raises what :meth:`save` raises."""
        self.note_progress(done=done, total=total)
        await self.save(lambda _: None)


class Handler(Protocol):
    """Runs jobs of one type. It must be idempotent: every job may run more than once."""

    def __call__(self, job: RunningJob) -> Awaitable[Done | None]:
        """Run the job, and return when it has succeeded; None is a success without a result.

        It is cancelled when its time is up, its lease is lost or the worker stops. After a
        retryable ``AgentStorageError`` or any other exception, the job is retried later; another
        ``AgentStorageError`` fails it at once.
        """
