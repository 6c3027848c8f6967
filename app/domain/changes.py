"""Changes of facts, as the ledger tells of them: history, and the feed that others follow."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from app.domain.ids import ExtractionId, RunId, SourceId
from app.domain.rows import ExtractionRow


class ChangeKind(StrEnum):
    """What happened to a fact, or to a source."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    REGROUPED = "regrouped"
    SOURCE_DELETED = "source_deleted"


class Change(NamedTuple):
    """One change of one fact, or of a source (``extraction_id`` is None).

    ``number`` is that of its entry in the project's ledger. ``before`` is what a changed fact's
    confidence and metadata were, a removed fact whole, or a source's group (as ``{"group": …}``),
    and ``after`` the group that the source then got. ``extraction`` is the fact as it is now; None
    where it is gone since, and where that wasn't asked for.
    """

    number: int
    kind: ChangeKind
    at: datetime
    run_id: RunId | None
    source_id: SourceId
    extraction_id: ExtractionId | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    extraction: ExtractionRow | None = None


class FeedPlace(NamedTuple):
    """How far a feed was read: ``taken`` changes of entry ``number``, and all before it.

    ``epoch`` tells the project from an earlier one of its name.
    """

    epoch: int
    number: int
    taken: int


@dataclass(frozen=True, slots=True)
class FeedPage:
    """The next changes of a project, in order, and where to go on. ``is_last``: there were no more.

    ``is_whole``: none before them is missing. It is false where a feed begins that was pruned.
    """

    changes: list[Change]
    place: FeedPlace
    is_last: bool
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class History:
    """What became of a fact or a source, the newest first.

    ``before`` is where an older page begins, if there is one. ``is_whole``: it goes back to the
    beginning; what is older than ``retention.history`` is pruned, and what was stored before there
    was a ledger isn't in it.
    """

    changes: list[Change]
    before: int | None
    is_whole: bool
