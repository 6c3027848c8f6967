"""Converts answers of the HTTP API into the rows that commands print."""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId
from app.domain.outcomes import Deleted
from app.domain.rows import ExtractionRow
from app.errors import ServiceError

T = TypeVar("T")

_NOT_OURS = (
    "this version of agent-storage can't read the answer; do the service and the command have the same version?"
)


def read_as(path: str, read: Callable[[Any], T], answer: object) -> T:
    """Apply ``read`` to an answer.

    Raises:
        ServiceError: the answer has another form; the service may be of another version.
    """
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServiceError(path, f"{_NOT_OURS} ({type(error).__name__}: {error})") from error


def extraction_of(row: Mapping[str, Any]) -> ExtractionRow:
    """Read an extraction with its source."""
    id_ = ExtractionId(uuid.UUID(row["id"]))
    return ExtractionRow(
        id=id_,
        project_id=ProjectId(uuid.UUID(row["project_id"])),
        project=row["project"],
        source_id=SourceId(uuid.UUID(row["source"]["id"])),
        source_uri=row["source"]["uri"],
        source_group=row["source"]["group"],
        extraction_type=row["extraction_type"],
        data=row["data"],
        confidence=row["confidence"],
        embedding_id=str(id_) if row["indexed"] else None,
        set_aside_reason=row["set_aside_reason"],
        created_at=datetime.fromisoformat(row["created_at"]),
        first_run_id=run_id_of(row["first_run_id"]),
        last_run_id=run_id_of(row["last_run_id"]),
        metadata=row["metadata"],
        changed_at=None if row["changed_at"] is None else datetime.fromisoformat(row["changed_at"]),
    )


def deleted_of(answer: Mapping[str, Any]) -> Deleted:
    """Read the outcome of a deletion."""
    return Deleted(int(answer["deleted"]), job_ids_of(answer))


def job_ids_of(answer: Mapping[str, Any]) -> list[JobId]:
    """Read the ids of the jobs that the request queued."""
    return [JobId(uuid.UUID(each)) for each in answer["jobs"]]


def run_id_of(text: str | None) -> RunId | None:
    """Parse a run's id, if there is one."""
    return None if text is None else RunId(uuid.UUID(text))


def moment_of(text: str | None) -> datetime | None:
    """Parse a time, if there is one."""
    return None if text is None else datetime.fromisoformat(text)
