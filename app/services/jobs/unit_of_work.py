"""Writing to SQL what goes with a change of the index, one transaction a call."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from app.database import Database, WriteSession

T = TypeVar("T")


class UnitOfWork(Protocol):
    """Where a service writes what it has done to the index: under a job's lease, or without one.

    :class:`app.services.jobs.running.RunningJob` is the one under a lease.
    """

    async def save(
        self,
        work: Callable[[WriteSession], T],
        *,
        compensation: Callable[[WriteSession], object] | None = None,
    ) -> T:
        """Run ``work`` in a transaction of its own and return its result.

        ``compensation`` runs instead, in a transaction of its own, where the lease is lost: Qdrant
        has been changed already, and what that takes must be queued all the same.

        Raises:
            LeaseLost: the lease is lost; ``work`` has written nothing.
            JobCancelled: the job is to stop; what ``work`` wrote is committed.
        """
        ...


class UnfencedUnitOfWork:
    """Writes without a lease: for a command that a person has started."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(
        self,
        work: Callable[[WriteSession], T],
        *,
        compensation: Callable[[WriteSession], object] | None = None,  # noqa: ARG002 - there is no lease to lose
    ) -> T:
        """See :class:`UnitOfWork`."""
        return await self._database.write(work)
