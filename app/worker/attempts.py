"""One attempt at a job: its handler is run within its time, and what comes of it says how the job goes on."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from structlog.contextvars import bound_contextvars

from app.database import Database
from app.errors import (
    AgentStorageError,
    EmbedderMismatch,
    HandlerCrashed,
    JobCancelled,
    LeaseLost,
    ReindexUnfinished,
    Saturated,
    ShuttingDown,
    TimeLimitExceeded,
)
from app.models import JobStatus
from app.services.jobs.running import Done, Handler, RunningJob
from app.services.metrics.instruments import Instruments
from app.services.storage.repositories.lease import LeaseRepository, Settlement
from app.worker.policy import WorkerPolicy

logger = logging.getLogger(__name__)

_LAST_WORDS_S = 1.0
"""How long a handler that was cancelled may take to end."""

_ERROR_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended. ``settlement`` is None when there is nothing to settle any more.

    ``error`` is what it failed with, a ``CancelledError`` when it was interrupted.
    """

    job: RunningJob
    settlement: Settlement | None
    result: Mapping[str, Any] | None = None
    error: BaseException | None = None


class Attempts:
    """Runs the handlers of claimed jobs. ``run`` raises nothing: whatever a handler does becomes an ending."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        policy: WorkerPolicy,
        instruments: Instruments,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._policy = policy
        self._instruments = instruments

    async def run(self, job: RunningJob) -> Ended:
        """Run the job's handler; an interruption hands the job back."""
        with bound_contextvars(job_id=str(job.id), job_type=job.type, attempt=job.attempt):
            started = time.monotonic()
            ended = await self._ending(job)
            outcome = _outcome(ended)
            self._instruments.job(job.type, outcome, time.monotonic() - started)
            _log(ended, outcome)
            return ended

    async def _ending(self, job: RunningJob) -> Ended:
        try:
            done = await self._handle(job) or Done()
            _check_result(job, done)
            settlement = _settlement(job, JobStatus.COMPLETED, result=done.result)
            if (effect := done.effect) is None:
                return Ended(job, settlement, done.result)
            await self._database.write(
                lambda session: LeaseRepository(session).complete(settlement, effect), begun=True
            )
            return Ended(job, None, done.result)
        except (asyncio.CancelledError, ShuttingDown) as error:
            return Ended(job, _settlement(job, JobStatus.QUEUED), error=error)
        except JobCancelled as error:
            return Ended(job, _settlement(job, JobStatus.CANCELLED), error=error)
        except LeaseLost as error:
            return Ended(job, None, error=error)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; it becomes the job's error
            return self._failed(job, error)

    async def _handle(self, job: RunningJob) -> Done | None:
        """The handler runs in a task of its own, so that one that won't end can be left behind."""
        limit_s = self._policy.time_limit_of(job.type)
        task = asyncio.create_task(_guarded(self._handlers[job.type], job))
        try:
            await asyncio.wait((task,), timeout=limit_s)
        except asyncio.CancelledError:
            await _stop(task)
            raise
        if not task.done():
            await _stop(task)
            raise TimeLimitExceeded(job.type, limit_s)
        if task.cancelled():
            raise HandlerCrashed(job.type, "it cancelled itself")
        return task.result()

    def _failed(self, job: RunningJob, error: Exception) -> Ended:
        # A lane that is full says nothing about the job, and requests can keep one full for long.
        counted = 0 if isinstance(error, Saturated) else 1
        failures = job.failures + counted
        if not _is_passing(error) or (counted and failures >= self._policy.max_attempts):
            settlement = _settlement(job, JobStatus.FAILED, error=_reason(error), failures=1)
        else:
            pause_s = self._policy.pause_s(max(1, failures), getattr(error, "retry_after_s", None) or 0.0)
            settlement = _settlement(
                job, JobStatus.QUEUED, error=_reason(error), failures=counted, delay_s=pause_s
            )
        return Ended(job, settlement, error=error)


async def _guarded(handler: Handler, job: RunningJob) -> Done | None:
    try:
        return await handler(job)
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        # SystemExit and KeyboardInterrupt, raised in a task, would end the event loop.
        raise HandlerCrashed(job.type, _reason(error)) from error


async def _stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=_LAST_WORDS_S)
    if task.done() and not task.cancelled():
        task.exception()  # looked at, so that asyncio doesn't log it as lost


def _settlement(job: RunningJob, status: JobStatus, **rest: Any) -> Settlement:  # noqa: ANN401 - Settlement's fields
    return Settlement(job.id, job.attempt, status, **rest)


def _is_passing(error: Exception) -> bool:
    """Whether another attempt can help: of foreign errors nobody knows, and so it may."""
    if isinstance(error, EmbedderMismatch | ReindexUnfinished):
        return True  # another process rebuilds the index
    return error.retryable if isinstance(error, AgentStorageError) else True


def _check_result(job: RunningJob, done: Done) -> None:
    """Now, because a settlement that can't be written would take its turn's others with it."""
    if done.result is not None and b"\\u0000" in orjson.dumps(done.result):
        raise HandlerCrashed(job.type, "its result contains the character U+0000")


def _reason(error: BaseException) -> str:
    ours = isinstance(error, AgentStorageError)
    try:
        text = str(error) if ours else f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a foreign error may not even be able to say what it is
        text = type(error).__name__
    # No UTF-8 has a lone surrogate, and PostgreSQL keeps no NUL.
    return text.encode(errors="backslashreplace").decode().replace("\0", "")[:_ERROR_CHARS]


def _outcome(ended: Ended) -> str:
    if ended.error is None:
        return "completed"
    if ended.settlement is None:
        return "lost"
    if ended.settlement.status == JobStatus.QUEUED:
        return "retried" if ended.settlement.failures else "handed_back"
    return str(ended.settlement.status)


def _log(ended: Ended, outcome: str) -> None:
    if outcome == "completed":
        logger.debug("job completed")
    elif outcome in {"failed", "retried"} and ended.error is not None:
        known = isinstance(ended.error, AgentStorageError) and ended.error.__cause__ is None
        logger.warning("job %s: %s", outcome, _reason(ended.error), exc_info=None if known else ended.error)
    else:
        logger.info("job %s", outcome)
