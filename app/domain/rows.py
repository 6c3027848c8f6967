"""The stored rows, as plain values for everything outside SQL."""

from datetime import datetime
from typing import Any, NamedTuple

from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId


class ExtractionRow(NamedTuple):
    """An extraction with its project's name and its source.

    The runs are the first and the last that asserted it. ``changed_at`` is when its confidence or
    its metadata changed last; None if they never have.
    """

    id: ExtractionId
    project_id: ProjectId
    project: str
    source_id: SourceId
    source_uri: str
    source_group: str | None
    extraction_type: str
    data: dict[str, Any]
    confidence: float | None
    embedding_id: str | None
    set_aside_reason: str | None
    created_at: datetime
    first_run_id: RunId | None = None
    last_run_id: RunId | None = None
    metadata: dict[str, Any] | None = None
    changed_at: datetime | None = None


class SourceRow(NamedTuple):
    """A source and how many extractions it has.

    ``observed_at`` is when the content of its last replace was observed.
    """

    id: SourceId
    project_id: ProjectId
    uri: str
    group: str | None
    created_at: datetime
    observed_at: datetime | None
    extractions: int


class RunRow(NamedTuple):
    """A run, and what it changed. ``undoes`` is the run that it undid."""

    id: RunId
    project_id: ProjectId
    name: str
    metadata: dict[str, Any] | None
    begun_at: datetime
    ended_at: datetime | None
    undoes: RunId | None
    added: int
    changed: int
    unchanged: int
    removed: int


class LedgerRow(NamedTuple):
    """An entry of the ledger: what one transaction changed of one source."""

    number: int
    source_id: SourceId
    run_id: RunId | None
    at: datetime
    added: int
    changed: int
    removed: int
    changes: dict[str, Any]


class ProjectSummary(NamedTuple):
    """A project, and how many sources, extractions and indexed extractions it has."""

    id: ProjectId
    name: str
    created_at: datetime
    sources: int
    extractions: int
    indexed: int


# Named here, because in a class with a method ``list`` that name means the method.
ExtractionRows = list[ExtractionRow]
ProjectSummaries = list[ProjectSummary]
SourceRows = list[SourceRow]
RunRows = list[RunRow]
LedgerRows = list[LedgerRow]
