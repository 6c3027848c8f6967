"""Jobs, and requests that queue or prune them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from app.api.schemas.values import Body, ProjectName


class Verification(Body):
    """The projects to verify, and whether to repair differences."""

    project: ProjectName | None = Field(default=None, description="Null: all projects.")
    repair: bool = False


class Pruning(Body):
    """The age from which ended jobs are deleted."""

    older_than_seconds: float = Field(ge=0, le=1e10)


class Progress(BaseModel):
    """The progress of a job; ``total`` is null if unknown."""

    done: int
    total: int | None


class Job(BaseModel):
    """A job. ``attempts`` counts how often it was started, ``failures`` how often it failed."""

    id: UUID
    type: str
    status: str
    priority: int
    project_id: UUID | None
    attempts: int
    failures: int
    progress: Progress
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    result: dict[str, Any] | None
    error: str | None


class Jobs(BaseModel):
    """A page of jobs, newest first."""

    items: list[Job]
    next_cursor: str | None


class Pruned(BaseModel):
    """How many jobs were deleted."""

    pruned: int


class JobTypes(BaseModel):
    """The paused job types."""

    paused: list[str]
