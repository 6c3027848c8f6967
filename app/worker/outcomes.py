"""The outcomes of an attempt at a job, and what each means for the job's row."""

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
    """The handler succeeded. ``settled``: the transaction of its effect has settled the job."""

    name: ClassVar[str] = "completed"
    job: RunningJob
    result: Mapping[str, Any] | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """The attempt failed, perhaps transiently; the job is due again in ``pause_s``."""

    name: ClassVar[str] = "retried"
    job: RunningJob
    error: Exception
    pause_s: float


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The attempt was interrupted or couldn't run now; it isn't a failure.

    The job is due again in ``pause_s``. ``reason`` goes to the job's row; None for an interruption.
    """

    name: ClassVar[str] = "handed_back"
    job: RunningJob
    error: BaseException
    reason: str | None = None
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed permanently."""

    name: ClassVar[str] = "failed"
    job: RunningJob
    error: Exception


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt stopped because cancellation was requested."""

    name: ClassVar[str] = "cancelled"
    job: RunningJob
    error: Exception


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt has lost its lease: another worker decides the job's outcome."""

    name: ClassVar[str] = "lost"
    job: RunningJob
    error: Exception


Unsuccessful = Retried | HandedBack | Failed | Cancelled | Lost
Outcome = Completed | Unsuccessful


def settlement_of(outcome: Outcome) -> Settlement | None:
    """The settlement to write for an outcome; None if there is nothing left to write."""
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
    """The text of an error for a job's row: up to 2,000 characters that every database stores."""
    try:
        text = str(error) if isinstance(error, AgentStorageError) else f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a foreign error's ``__str__`` may raise anything
        text = type(error).__name__
    # UTF-8 can't encode a lone surrogate, and PostgreSQL stores no NUL.
    return text.encode(errors="backslashreplace").decode().replace("\0", "")[:_ERROR_CHARS]
