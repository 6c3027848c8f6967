"""Sources."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from app.api.schemas.extractions import Source
from app.domain.documents import source_as_dict
from app.domain.rows import SourceRow


class SourceShown(Source):
    """A source of a project, and how many extractions it has. ``gone``: it has none."""

    created_at: datetime
    observed_at: datetime | None = Field(
        description="When the content of the last replace was observed; null if it was never replaced."
    )
    extractions: int
    gone: bool

    @classmethod
    def of(cls, row: SourceRow) -> Self:
        """Convert the service's value."""
        return cls(**source_as_dict(row))


class Sources(BaseModel):
    """A page of sources, sorted by id."""

    items: list[SourceShown]
    next_cursor: str | None


class PrunedSources(BaseModel):
    """How many sources were deleted."""

    pruned: int
