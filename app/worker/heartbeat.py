"""The heartbeat: renew the leases of running jobs while their worker lives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from app.database import Database
from app.domain.jobs import JobStatus
from app.errors import AgentStorageError
from app.services.jobs.running import RunningJob
from app.services.storage.repositories.lease import LeaseRepository

logger = logging.getLogger(__name__)


async def keep_leases(
    database: Database, running: Callable[[], Collection[RunningJob]], lease_s: float
) -> None:
    """Renew the leases of ``running`` jobs every ``lease_s / 3`` until cancelled, in one statement.

    Jobs learn here of requests to cancel them. An attempt that has lost its lease is cancelled at
    once, so that it doesn't run beside its successor.
    """
    while True:
        await asyncio.sleep(lease_s / 3)
        if jobs := list(running()):
            try:
                await _renew(database, jobs, lease_s)
            except AgentStorageError as error:
                logger.warning("can't renew %d leases, and will try again: %s", len(jobs), error)
            except Exception:
                logger.exception("can't renew %d leases, and will try again", len(jobs))


async def _renew(database: Database, jobs: list[RunningJob], lease_s: float) -> None:
    held = [(job.id, job.attempt) for job in jobs]
    statuses = await database.write(
        lambda session: LeaseRepository(session).renew(held, lease_s), exempt_from_max_waiting=True
    )
    for job in jobs:
        status = statuses.get(job.id)
        if status is None:
            job.lose_lease()
        else:
            job.cancel_requested = status == JobStatus.CANCELLING


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run ``work`` in a background task that is cancelled at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled() and (error := task.exception()):
            logger.error("a background task of the worker failed", exc_info=error)
