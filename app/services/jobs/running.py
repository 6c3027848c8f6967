"""What a handler gets, and what it gives back."""

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
    """A job has succeeded. ``result`` is kept with it, as JSON.

    ``effect`` runs in the very transaction that settles the job, and only if its lease still holds:
    so it happens exactly once.
    """

    result: Mapping[str, Any] | None = None
    effect: Callable[[WriteSession], None] | None = None


class RunningJob:
    """A claimed job, as its handler sees it: for one event loop, from claim to settlement.

    It is the :class:`UnitOfWork` whose writes are fenced by the job's lease.
    """

    def __init__(self, claimed: ClaimedJob, database: Database, lease_s: float) -> None:
        """Made on the event loop on which the handler will run."""
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
        """What an index job is about."""
        return [parse_extraction_id(text) for text in self.payload["extraction_ids"]]

    def note_progress(self, *, done: int, total: int | None = None) -> None:
        """How far the attempt is; the next :meth:`save` writes it."""
        self._done, self._total = done, total

    def lose_lease(self) -> None:
        """Another worker may run the job: this attempt is to be cancelled."""
        if not self.lease_lost.done():
            self.lease_lost.set_result(None)

    async def save(
        self,
        work: Callable[[WriteSession], T],
        *,
        compensation: Callable[[WriteSession], object] | None = None,
    ) -> T:
        """Run ``work`` in a transaction in which the lease holds; it is renewed, and the progress noted.

        The way to write what a batch has brought: if the lease is lost, nothing of ``work`` is
        written, and ``compensation`` runs without the lease.

        Raises:
            LeaseLost: the job may be another worker's.
            JobCancelled: the job is to stop; what ``work`` wrote is committed.
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
    """Runs jobs of one type. Every job may be run more than once, so running it again must do no harm."""

    def __call__(self, job: RunningJob) -> Awaitable[Done | None]:
        """Run the job and return when it has succeeded; None says so without a result.

        It is cancelled when its time is up, its lease is lost or the worker stops. A retryable
        error of ours, or any foreign one, has the job tried again later; another of ours fails it
        at once.
        """
