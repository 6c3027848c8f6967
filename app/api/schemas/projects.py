"""Projects."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from app.api.schemas.values import Body, ProjectName
from app.domain.rows import ProjectSummary


class NewProject(Body):
    """A project to create."""

    name: ProjectName


class Project(BaseModel):
    """A project and the numbers of its sources and extractions."""

    id: UUID
    name: str
    created_at: datetime
    sources: int
    extractions: int
    indexed: int

    @classmethod
    def of(cls, summary: ProjectSummary) -> Self:
        """Convert the service's value."""
        return cls(**summary._asdict())


class Projects(BaseModel):
    """A page of projects, sorted by name."""

    items: list[Project]
    next_cursor: str | None
