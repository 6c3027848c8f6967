"""The unit of work: write to SQL what goes with a change of the index, in one transaction."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from app.database import Database, WriteSession

T = TypeVar("T")


class UnitOfWork(Protocol):
    """Writes to SQL what a service has done to the index, with or without a job's lease.

    :class:`app.services.jobs.running.RunningJob` is the implementation with a lease.
    """

    async def save(
        self,
        work: Callable[[WriteSession], T],
        *,
        compensation: Callable[[WriteSession], object] | None = None,
    ) -> T:
        """Run ``work`` in its own transaction, and return its result.

        If the lease is lost, ``compensation`` runs instead, in its own transaction: Qdrant is
        already changed, and the jobs that follow from that must be queued all the same.

        Raises:
            LeaseLost: the lease is lost; ``work`` has written nothing.
            JobCancelled: the job was asked to stop; what ``work`` wrote is committed.
        """
        ...


class UnfencedUnitOfWork:
    """Writes without a lease, for commands that a person starts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(
        self,
        work: Callable[[WriteSession], T],
        *,
        compensation: Callable[[WriteSession], object] | None = None,  # noqa: ARG002 - no lease to lose
    ) -> T:
        """See :class:`UnitOfWork`."""
        return await self._database.write(work)
