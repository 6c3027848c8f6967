"""Extractions, and the outcomes of storing, replacing, deleting and retrying them."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from app.api.schemas.filters import Filters
from app.api.schemas.values import Body, Ids, Warnings


class Deletion(Body):
    """The extractions to delete: by id, by filters, or all of the project."""

    ids: Ids | None = None
    filters: Filters | None = None
    all: bool = Field(
        default=False, description="True: all extractions; the project itself and its history stay."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.ids is not None) + (self.filters is not None) + self.all != 1:
            raise ValueError("give either ids or filters, or all: true")
        if self.filters is not None and self.filters == Filters():
            raise ValueError("these filters match everything; to delete everything, give all: true")
        return self


class Retrial(Body):
    """The set-aside extractions to retry: by id or by filters; without either, all of them."""

    ids: Ids | None = None
    filters: Filters | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.ids is not None and self.filters is not None:
            raise ValueError("give either ids or filters")
        return self


class Source(BaseModel):
    """The source that an extraction was taken from."""

    id: UUID
    uri: str
    group: str | None


class Extraction(BaseModel):
    """A stored extraction. It can be posted again; fields that aren't input are ignored."""

    id: UUID
    project_id: UUID
    project: str = Field(description="The project's name.")
    source: Source
    source_uri: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    metadata: dict[str, Any] | None = Field(
        description="Data that may change without making another extraction, like the confidence."
    )
    data: dict[str, Any]
    first_run_id: UUID | None = Field(description="The run that asserted it first.")
    last_run_id: UUID | None = Field(description="The run that asserted it last.")
    indexed: bool = Field(description="Whether search can find it.")
    set_aside_reason: str | None = Field(description="Why it can't be embedded; null if it isn't set aside.")
    created_at: datetime
    changed_at: datetime | None = Field(
        description="When its confidence or metadata last changed; null if they never have."
    )


class Extractions(BaseModel):
    """A page of extractions."""

    items: list[Extraction]
    next_cursor: str | None
    warnings: Warnings


class Stored(BaseModel):
    """An item of the request.

    ``new``: it wasn't stored yet. ``changed``: it was stored with another confidence or other
    metadata, or its source in another group.
    """

    id: UUID
    new: bool
    changed: bool


class Waited(BaseModel):
    """The jobs that were waited for and didn't complete: still open, or failed or cancelled."""

    open_jobs: list[UUID]
    failed_jobs: list[UUID]


class Accepted(BaseModel):
    """The outcome of each item, in the request's order.

    ``changed`` counts the extractions among the ``known`` that changed. ``job_id`` is the last of
    ``jobs``, null if nothing was new and nothing changed.
    """

    items: list[Stored]
    new: int
    known: int
    changed: int
    jobs: list[UUID]
    job_id: UUID | None
    run_id: UUID | None
    waited: Waited | None = Field(description="Null unless the request has `wait`.")
    warnings: list[str] = Field(
        description="Messages for people, such as that the project's text isn't in the embedder's languages."
    )


class ChangedFact(BaseModel):
    """A fact that a dry run would add, change or remove."""

    kind: Literal["added", "changed", "removed"]
    id: UUID
    extraction_type: str
    data: dict[str, Any]


class ReplacedSource(BaseModel):
    """What replacing a source changed. ``gone``: the source has no facts left."""

    id: UUID
    uri: str
    added: int
    changed: int
    unchanged: int
    removed: int
    gone: bool
    facts: list[ChangedFact] | None = Field(
        description="In a dry run, the facts that would change, of all sources 10,000; null otherwise."
    )


class Replaced(BaseModel):
    """What a replace changed, for each source and in total. ``job_id`` is the last of ``jobs``."""

    sources: list[ReplacedSource]
    added: int
    changed: int
    unchanged: int
    removed: int
    jobs: list[UUID]
    job_id: UUID | None
    run_id: UUID | None
    dry_run: bool
    waited: Waited | None = Field(description="Null unless the request has `wait`.")
    warnings: list[str] = Field(description="Messages for people, as after posting extractions.")


class DeletedAnswer(BaseModel):
    """How many extractions were deleted, and the jobs that delete their vectors."""

    deleted: int
    jobs: list[UUID]
    waited: Waited | None = Field(description="Null unless the request has `wait`.")
    dry_run: bool = Field(
        default=False, description="True: nothing was deleted; `deleted` counts what would be."
    )
    warnings: Warnings = []


class RetriedAnswer(BaseModel):
    """How many extractions are retried, and the jobs that embed them."""

    retried: int
    jobs: list[UUID]
    warnings: Warnings


class Count(BaseModel):
    """The number of extractions."""

    count: int
    warnings: Warnings
