"""Wait until jobs have ended, such as those that make stored extractions searchable."""

import asyncio
import math
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from app.database import Database
from app.domain.ids import JobId
from app.domain.jobs import OPEN_STATUSES, JobStatus
from app.domain.outcomes import Accepted, Deleted, Replaced, Waited
from app.errors import AgentStorageError, InvalidField
from app.services.storage.repositories.job import JobRepository

Outcome = TypeVar("Outcome", Accepted, Deleted, Replaced)

MAX_WAIT_S = 60.0
"""The longest wait. To wait longer, follow the jobs."""

_FAILED = (JobStatus.FAILED, JobStatus.CANCELLED)
_FIRST_LOOK_S = 0.02
_LONGEST_PAUSE_S = 0.5


def check_wait(seconds: float | None) -> None:
    """Check the seconds to wait; None means not to wait.

    Raises:
        InvalidField: they aren't within 0 to :data:`MAX_WAIT_S`.
    """
    if seconds is None:
        return
    if isinstance(seconds, bool) or not math.isfinite(seconds) or not 0 <= seconds <= MAX_WAIT_S:
        raise InvalidField("wait", f"is 0 to {MAX_WAIT_S:g} seconds, not {seconds}")


async def with_waiting(database: Database, outcome: Outcome, seconds: float | None) -> Outcome:
    """The outcome with the state of its jobs, after waiting; unchanged if ``seconds`` is None."""
    if seconds is None:
        return outcome
    return replace(outcome, waited=await wait_for_jobs(database, outcome.job_ids, seconds))


async def wait_for_jobs(database: Database, job_ids: Collection[JobId], seconds: float) -> Waited:
    """Wait until these jobs have ended, at most ``seconds``; any worker may run them.

    If a job's status can't be read, the job counts as open: the data was accepted all the same.
    """
    deadline = time.monotonic() + seconds
    waited, pause_s = Waited(list(dict.fromkeys(job_ids)), []), _FIRST_LOOK_S
    while waited.open_job_ids:
        with suppress(AgentStorageError):
            waited = await _look(database, waited)
        rest_s = deadline - time.monotonic()
        if not waited.open_job_ids or rest_s <= 0:
            break
        await asyncio.sleep(min(pause_s, rest_s))
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
    return waited


async def _look(database: Database, waited: Waited) -> Waited:
    """Read the statuses of the open jobs. A job without a row had ended and was pruned."""
    open_ids = waited.open_job_ids
    found = await database.read(lambda session: JobRepository(session).statuses(open_ids))
    failed = [id_ for id_ in open_ids if found.get(id_) in _FAILED]
    return Waited(
        [id_ for id_ in open_ids if found.get(id_) in OPEN_STATUSES], [*waited.failed_job_ids, *failed]
    )
