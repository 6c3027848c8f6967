"""One attempt at a job: run its handler within the time limit, and decide the outcome."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import orjson
from structlog.contextvars import bound_contextvars

from app.database import Database
from app.domain.jobs import JobStatus
from app.errors import (
    AgentStorageError,
    HandlerCrashed,
    IndexMismatch,
    IndexRebuilding,
    JobCancelled,
    LeaseLost,
    Saturated,
    ShuttingDown,
    TimeLimitExceeded,
)
from app.services.jobs.running import Done, Handler, RunningJob
from app.services.metrics.instruments import Instruments
from app.services.storage.repositories.lease import LeaseRepository, Settlement
from app.settings.sections import WorkerSettings
from app.worker.outcomes import Cancelled, Completed, Failed, HandedBack, Lost, Outcome, Retried, reason_of
from app.worker.policy import pause_after, time_limit_of

logger = logging.getLogger(__name__)

_NOT_COUNTED = (Saturated, IndexRebuilding, IndexMismatch)
"""Errors after which the job waits and isn't counted as failed.

Requests can keep a lane full for long. If the index is being rebuilt, or another embedder made it,
the job can run later or in another worker.
"""

_LAST_WORDS_S = 1.0
"""How long a cancelled handler may take to end."""


class Attempts:
    """Runs the handlers of claimed jobs. ``run`` never raises: any error becomes an outcome."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        settings: WorkerSettings,
        instruments: Instruments,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._settings = settings
        self._instruments = instruments

    async def run(self, job: RunningJob) -> Outcome:
        """Run the job's handler; if it is interrupted, the job is handed back."""
        with bound_contextvars(job_id=str(job.id), job_type=job.type, attempt=job.attempt):
            started = time.monotonic()
            outcome = await self._outcome(job)
            self._instruments.job(job.type, outcome.name, time.monotonic() - started)
            _log(outcome)
            return outcome

    async def _outcome(self, job: RunningJob) -> Outcome:
        try:
            return await self._succeed(job)
        except (asyncio.CancelledError, ShuttingDown) as error:
            return HandedBack(job, error)
        except JobCancelled as error:
            return Cancelled(job, error)
        except LeaseLost as error:
            return Lost(job, error)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; it becomes the job's error
            return self._failure(job, error)

    async def _succeed(self, job: RunningJob) -> Completed:
        done = await self._handle(job) or Done()
        _check_result(job, done)
        if (effect := done.effect) is None:
            return Completed(job, done.result)
        settlement = Settlement(job.id, job.attempt, JobStatus.COMPLETED, result=done.result)
        await self._database.write(
            lambda session: LeaseRepository(session).complete(settlement, effect),
            exempt_from_max_waiting=True,
        )
        return Completed(job, done.result, settled=True)

    async def _handle(self, job: RunningJob) -> Done | None:
        """Run the handler in its own task, so that one that doesn't end can be abandoned."""
        limit_s = time_limit_of(job.type, self._settings)
        task = asyncio.create_task(_guarded(self._handlers[job.type], job))
        try:
            await asyncio.wait((task, job.lease_lost), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _stop(task)
            raise
        if not task.done():
            await _stop(task)
            if job.lease_lost.done():
                raise LeaseLost(job.id, job.attempt)
            raise TimeLimitExceeded(job.type, limit_s)
        if task.cancelled():
            raise HandlerCrashed(job.type, "it cancelled itself")
        return task.result()

    def _failure(self, job: RunningJob, error: Exception) -> Retried | HandedBack | Failed:
        least_s = getattr(error, "retry_after_s", None) or 0.0
        if isinstance(error, _NOT_COUNTED):
            pause_s = pause_after(max(1, job.failures), least_s, self._settings)
            return HandedBack(job, error, reason_of(error), pause_s)
        failures = job.failures + 1
        if not _is_passing(error) or failures >= self._settings.max_attempts:
            return Failed(job, error)
        return Retried(job, error, pause_after(failures, least_s, self._settings))


async def _guarded(handler: Handler, job: RunningJob) -> Done | None:
    try:
        return await handler(job)
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        # SystemExit and KeyboardInterrupt in a task would stop the event loop.
        raise HandlerCrashed(job.type, reason_of(error)) from error


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=_LAST_WORDS_S)
    if task.done() and not task.cancelled():
        task.exception()  # retrieved, so that asyncio doesn't log it as never retrieved


def _is_passing(error: Exception) -> bool:
    """Whether another attempt can help. Unknown exceptions are assumed to be transient."""
    return error.retryable if isinstance(error, AgentStorageError) else True


def _check_result(job: RunningJob, done: Done) -> None:
    """Check the result now: one that can't be stored would fail all settlements of its turn."""
    if done.result is not None and b"\\u0000" in orjson.dumps(done.result):
        raise HandlerCrashed(job.type, "its result contains the character U+0000")


def _log(outcome: Outcome) -> None:
    if isinstance(outcome, Completed) or (isinstance(outcome, HandedBack) and outcome.reason is None):
        logger.debug("job %s", outcome.name)  # an interruption is as usual as a success
    elif isinstance(outcome, Failed | Retried):
        error = outcome.error
        known = isinstance(error, AgentStorageError) and error.__cause__ is None
        logger.warning("job %s: %s", outcome.name, reason_of(error), exc_info=None if known else error)
    else:
        logger.info("job %s", outcome.name)
