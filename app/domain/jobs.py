"""Jobs as plain values: their types, their states, and a row for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from app.domain.ids import JobId, ProjectId


class JobStatus(StrEnum):
    """The state of a job. ``completed``, ``failed`` and ``cancelled`` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


FINAL_STATUSES = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
OPEN_STATUSES = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLING)


class JobType(StrEnum):
    """The types of the jobs that the product runs itself."""

    EMBED = "embed"
    DELETE_VECTORS = "delete_vectors"
    UPDATE_PAYLOAD = "update_payload"
    VERIFY = "verify"
    REPAIR = "repair"
    REINDEX = "reindex"
    INDEX_WORDS = "index_words"
    INDEX_DATA = "index_data"


INDEX_JOBS = (JobType.EMBED, JobType.DELETE_VECTORS, JobType.UPDATE_PAYLOAD)
"""The jobs that update the index after extractions were stored, changed or deleted."""


class JobRow(NamedTuple):
    """A job without its payload, which can be long."""

    id: JobId
    type: str
    status: str
    priority: int
    project_id: ProjectId | None
    attempt: int
    failures: int
    done: int
    total: int | None
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    result: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobFilters:
    """Filters on jobs; an empty one restricts nothing. ``project`` is a project's name."""

    types: Sequence[str] = ()
    statuses: Sequence[JobStatus] = ()
    project: str | None = None


# Named here, because in a class with a method ``list`` that name means the method.
JobRows = list[JobRow]
JobTypeNames = list[str]


def has_ended(row: JobRow) -> bool:
    """Whether the job's state is final: it runs again only after a retry by hand."""
    return row.status in FINAL_STATUSES


def job_as_dict(row: JobRow) -> dict[str, Any]:
    """Return the job as a dictionary for display, with the most important fields first."""
    return {
        "id": row.id,
        "type": row.type,
        "status": row.status,
        "priority": row.priority,
        "project_id": row.project_id,
        "attempts": row.attempt,
        "failures": row.failures,
        "progress": {"done": row.done, "total": row.total},
        "created_at": row.created_at,
        "run_at": row.run_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "result": row.result,
        "error": row.error,
    }
