"""Changes: histories and the feed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from app.api.schemas.extractions import Extraction
from app.domain.changes import ChangeKind


class ChangeShown(BaseModel):
    """One change of an extraction, or of a source (``extraction_id`` is null)."""

    number: int = Field(description="All changes of one source in one transaction have the same number.")
    kind: ChangeKind
    at: datetime
    run_id: UUID | None
    source_id: UUID
    extraction_id: UUID | None
    before: dict[str, Any] | None = Field(
        description="The state before: the confidence and metadata of a changed extraction, the whole of a removed "
        "one, the group of a source that moved to another group, or a deleted source."
    )
    after: dict[str, Any] | None = Field(description="The new group of a source that moved to another group.")
    extraction: Extraction | None = Field(
        description="The extraction as it is now; null if it was removed since."
    )


class HistoryAnswer(BaseModel):
    """A page of changes, newest first.

    ``whole``: this page ends with the first change of all; none was pruned.
    """

    items: list[ChangeShown]
    next_cursor: str | None
    whole: bool


class FeedAnswer(BaseModel):
    """Changes in commit order. ``cursor`` is where to continue, also if ``more`` is false.

    ``whole``: no earlier change is missing; false at the start of a pruned feed.
    """

    items: list[ChangeShown]
    cursor: str
    more: bool
    whole: bool
