"""How an attempt at a job ends, and what each way means for the job's row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, assert_never

from app.domain.jobs import JobStatus
from app.errors import AgentStorageError
from app.services.jobs.running import RunningJob
from app.services.storage.repositories.lease import Settlement

_ERROR_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler succeeded. ``settled``: in the transaction of its effect, so nothing is left to settle."""

    name: ClassVar[str] = "completed"
    job: RunningJob
    result: Mapping[str, Any] | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """It failed in a way that may pass; the job is due again in ``pause_s``."""

    name: ClassVar[str] = "retried"
    job: RunningJob
    error: Exception
    pause_s: float


@dataclass(frozen=True, slots=True)
class HandedBack:
    """It was interrupted, or found a lane full; that is no failure of the job's, which is due in ``pause_s``.

    ``reason`` is what the job's row says of it; None for an interruption.
    """

    name: ClassVar[str] = "handed_back"
    job: RunningJob
    error: BaseException
    reason: str | None = None
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """It failed for good."""

    name: ClassVar[str] = "failed"
    job: RunningJob
    error: Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It stopped because it was asked to."""

    name: ClassVar[str] = "cancelled"
    job: RunningJob
    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """Its lease is lost: what becomes of the job is another worker's to say."""

    name: ClassVar[str] = "lost"
    job: RunningJob
    error: Exception


Unsuccessful = Retried | HandedBack | Failed | Cancelled | Lost
Outcome = Completed | Unsuccessful


def settlement_of(outcome: Outcome) -> Settlement | None:
    """What is to be written of the attempt; None when there is nothing left to write."""
    match outcome:
        case Completed(settled=True) | Lost():
            return None
        case Completed(job, result):
            return Settlement(job.id, job.attempt, JobStatus.COMPLETED, result=result)
        case Retried(job, error, pause_s):
            return Settlement(
                job.id, job.attempt, JobStatus.QUEUED, error=reason_of(error), failures=1, delay_s=pause_s
            )
        case HandedBack(job, _, reason, pause_s):
            return Settlement(job.id, job.attempt, JobStatus.QUEUED, error=reason, delay_s=pause_s)
        case Failed(job, error):
            return Settlement(job.id, job.attempt, JobStatus.FAILED, error=reason_of(error), failures=1)
        case Cancelled(job):
            return Settlement(job.id, job.attempt, JobStatus.CANCELLED)
        case _:
            assert_never(outcome)


def reason_of(error: BaseException) -> str:
    """What a job's row says of an error: at most 2,000 characters that every database keeps."""
    try:
        text = str(error) if isinstance(error, AgentStorageError) else f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a foreign error may not even be able to say what it is
        text = type(error).__name__
    # No UTF-8 has a lone surrogate, and PostgreSQL keeps no NUL.
    return text.encode(errors="backslashreplace").decode().replace("\0", "")[:_ERROR_CHARS]
