"""Changes of facts from the ledger: their history, and the feed that consumers follow."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
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

    ``number`` is that of its entry in the project's ledger. ``before`` is the old confidence and
    metadata of a changed fact, all of a removed fact, or the old group of a source (as
    ``{"group": ...}``). ``after`` is the source's new group. ``extraction`` is the fact's current
    state; None if it has been removed since, or if the caller didn't ask for it.
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
    """A position in a feed: ``taken`` changes of entry ``number`` were read, and all before it.

    ``epoch`` distinguishes the project from an earlier one with the same name.
    """

    epoch: int
    number: int
    taken: int


@dataclass(frozen=True, slots=True)
class FeedPage:
    """The next changes of a project, in order, and the place after them.

    ``is_last``: there were no more. ``is_whole``: no earlier change is missing. It is false at the
    beginning of a feed that was pruned.
    """

    changes: list[Change]
    place: FeedPlace
    is_last: bool
    is_whole: bool = True

    def placed(self, start: FeedPlace) -> Iterator[tuple[FeedPlace, Change]]:
        """Yield each change with the place right after it; ``start`` is the page's own.

        After an entry's last change, the place is the next entry, not a position within this one.
        """
        place = start
        for change, following in zip_longest(self.changes, self.changes[1:]):
            if following is None:
                place = self.place
            elif following.number != change.number:
                place = FeedPlace(place.epoch, change.number + 1, 0)
            else:
                taken = place.taken if change.number == place.number else 0
                place = FeedPlace(place.epoch, change.number, taken + 1)
            yield place, change


@dataclass(frozen=True, slots=True)
class History:
    """The changes of a fact or a source, the newest first.

    ``before`` is where the next older page begins, if there is one. ``is_whole``: the history goes
    back to the beginning. It doesn't if changes older than ``retention.history`` were pruned, or if
    the fact is older than the ledger.
    """

    changes: list[Change]
    before: int | None
    is_whole: bool
