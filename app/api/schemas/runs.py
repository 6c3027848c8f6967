"""Runs, and what undoing one changed."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.api.schemas.values import Body, Label
from app.domain.documents import run_as_dict, undone_as_dict
from app.domain.items import MAX_METADATA_BYTES
from app.domain.outcomes import Undone
from app.domain.rows import RunRow

MOST_LEFT_ALONE = 1_000
"""How many of the entries that an undo skipped are listed."""


class NewRun(Body):
    """A run to begin."""

    name: Label = Field(description="The run's name. It need not be unique; the id is.")
    metadata: dict[str, Any] | None = Field(
        default=None, description=f"Data about the run; at most {MAX_METADATA_BYTES:,} bytes of JSON."
    )


class Run(BaseModel):
    """A run, and the numbers of extractions that it added, changed, left unchanged and removed."""

    id: UUID
    name: str
    metadata: dict[str, Any] | None
    begun_at: datetime
    ended_at: datetime | None
    undoes: UUID | None = Field(description="The run that this one undid.")
    added: int
    changed: int
    unchanged: int
    removed: int

    @classmethod
    def of(cls, row: RunRow) -> Self:
        """Convert the service's value."""
        return cls(**run_as_dict(row))


class Runs(BaseModel):
    """A page of runs, newest first."""

    items: list[Run]
    next_cursor: str | None


class LeftAsItIs(BaseModel):
    """Something that an undo left as it is: an extraction, or the source's group (null)."""

    source_id: UUID
    extraction_id: UUID | None


class LeftAlone(BaseModel):
    """What an undo left as it is, because it changed after the run.

    ``items`` are the first 1,000 of ``count``.
    """

    count: int
    items: list[LeftAsItIs]


class UndoneAnswer(BaseModel):
    """What undoing a run changed.

    ``added`` extractions were restored, ``removed`` ones were removed again. ``undone_by`` is the
    undo's own run, which can be undone too. If ``already_undone`` is true, nothing was changed, and
    ``undone_by`` is the earlier undo's run.
    """

    run: UUID
    undone_by: UUID
    already_undone: bool
    added: int
    changed: int
    removed: int
    left_alone: LeftAlone
    jobs: list[UUID]

    @classmethod
    def of(cls, undone: Undone) -> Self:
        """Convert the service's value."""
        return cls(**undone_as_dict(undone, MOST_LEFT_ALONE))
