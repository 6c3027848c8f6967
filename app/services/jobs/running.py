"""What a handler gets, and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from app.database import Database, WriteSession
from app.errors import JobCancelled
from app.models import ExtractionId, JobId, JobStatus, parse_extraction_id
from app.services.storage.repositories.lease import ClaimedJob, LeaseRepository

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """A job has succeeded. ``result`` is kept with it, as JSON.

    ``effect`` runs in the very transaction that settles the job, and only if its lease still holds: so it
    happens exactly once.
    """

    result: Mapping[str, Any] | None = None
    effect: Callable[[WriteSession], None] | None = None


class RunningJob:
    """A claimed job, as its handler sees it: for one event loop, from claim to settlement."""

    def __init__(self, claimed: ClaimedJob, database: Database, lease_s: float) -> None:
        self.id: JobId = claimed.id
        self.type = claimed.type
        self.payload = claimed.payload
        self.attempt = claimed.attempt
        self.failures = claimed.failures
        self.cancel_requested = False
        self._database = database
        self._lease_s = lease_s

    def extraction_ids(self) -> list[ExtractionId]:
        """What an index job is about."""
        return [parse_extraction_id(text) for text in self.payload["extraction_ids"]]

    async def save(self, work: Callable[[WriteSession], T], *, done: int, total: int | None = None) -> T:
        """Run ``work`` in a transaction in which the lease holds; it is renewed, and the progress noted.

        The way to write what a batch has brought: if the lease is lost, nothing is written.

        Raises:
            LeaseLost: the job may be another worker's.
            JobCancelled: somebody wants it to stop; what ``work`` wrote is committed.
        """

        def held(session: WriteSession) -> tuple[JobStatus, T]:
            leases = LeaseRepository(session)
            status = leases.hold(self.id, self.attempt, lease_s=self._lease_s, done=done, total=total)
            return status, work(session)

        status, result = await self._database.write(held, begun=True)
        if status == JobStatus.CANCELLING or self.cancel_requested:
            raise JobCancelled(self.id)
        return result

    async def report(self, *, done: int, total: int | None = None) -> None:
        """Renew the lease and note the progress; raises what :meth:`save` raises."""
        await self.save(lambda _: None, done=done, total=total)


class Handler(Protocol):
    """Runs jobs of one type. Every job may be run more than once, so running it again must do no harm."""

    def __call__(self, job: RunningJob) -> Awaitable[Done | None]:
        """Run the job and return when it has succeeded; None says so without a result.

        It is cancelled when its time is up or the worker stops; one whose lease is lost learns so when it saves. A retryable error of ours, or
        any foreign one, has the job tried again later; another of ours fails it at once.
        """
