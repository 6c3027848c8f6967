"""What is stored, as everything outside SQL sees it."""

from datetime import datetime
from typing import Any, NamedTuple

from app.domain.ids import ExtractionId, ProjectId


class ExtractionRow(NamedTuple):
    """An extraction with what is known of its source."""

    id: ExtractionId
    project_id: ProjectId
    source_uri: str
    source_group: str | None
    extraction_type: str
    data: dict[str, Any]
    confidence: float | None
    embedding_id: str | None
    set_aside_reason: str | None
    created_at: datetime


class ProjectSummary(NamedTuple):
    """A project, and how many sources, extractions and indexed extractions it has."""

    id: ProjectId
    name: str
    created_at: datetime
    sources: int
    extractions: int
    indexed: int


# Named here, because in a class that has a method ``list`` the word means that.
ExtractionRows = list[ExtractionRow]
ProjectSummaries = list[ProjectSummary]
