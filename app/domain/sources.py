"""What a source says now: the lines of a replace, and the facts they make up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from app.domain.ids import RunId
from app.domain.items import MAX_URI_CHARS, Item, ItemLimits, parse_item, parse_label
from app.domain.normal_form import composed
from app.errors import InvalidField

_GONE_LINE = frozenset({"source_uri", "gone", "observed_at"})
_CLOCKS_DIFFER = timedelta(hours=1)
_LIMITS = ItemLimits()


class ReplaceScope(StrEnum):
    """What a replace makes exactly as given: each source that is named, or the project with all its sources."""

    SOURCE = "source"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class ReplaceOptions:
    """How a replace is done.

    ``observed_at`` is when what is handed in was observed, for sources that don't say so
    themselves; None is now. ``dry_run`` tells what would happen and writes nothing. Without
    ``allow_mass_delete``, removing more than half of the facts of a source or the project is
    refused, where that is more than 20.
    """

    scope: ReplaceScope = ReplaceScope.SOURCE
    observed_at: datetime | None = None
    run_id: RunId | None = None
    dry_run: bool = False
    allow_mass_delete: bool = False


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line of a replace: a fact of a source, or that the source is gone (``item`` is None)."""

    source_uri: str
    item: Item | None
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """All the facts of one source, as they are now. ``gone`` says on purpose that there are none.

    ``line`` is where the source begins in what was handed in, counted from 1.
    """

    source_uri: str
    items: Sequence[Item]
    gone: bool = False
    observed_at: datetime | None = None
    line: int = 1

    @property
    def source_group(self) -> str | None:
        """The last group that its facts name."""
        return next((item.source_group for item in reversed(self.items) if item.source_group is not None), None)


@dataclass(frozen=True, slots=True)
class SourceFilters:
    """Which sources are meant; what is empty restricts nothing. One that is ``gone`` has no extractions."""

    source_groups: Sequence[str] = ()
    uri_prefix: str | None = None
    gone: bool | None = None

    def __post_init__(self) -> None:
        """Bring texts into the normal form in which they are stored."""
        groups = tuple(composed(group, "source_groups") for group in self.source_groups)
        object.__setattr__(self, "source_groups", groups)
        if self.uri_prefix is not None:
            object.__setattr__(self, "uri_prefix", composed(self.uri_prefix, "uri_prefix"))


def parse_source_line(raw: object, text_fields: Sequence[str], limits: ItemLimits = _LIMITS) -> SourceLine:
    """Check one line of a replace, as decoded from JSON: an item that may tell when it was observed, or a source that
    is gone.

    Raises:
        InvalidInput: it is neither. The message names the field and the reason.
    """
    if not isinstance(raw, Mapping):
        item = parse_item(raw, text_fields, limits)  # which refuses it
        return SourceLine(item.source_uri, item, None)
    observed_at = None if raw.get("observed_at") is None else parse_observed_at(raw["observed_at"])
    if "gone" in raw:
        return SourceLine(_gone_source(raw), None, observed_at)
    if "observed_at" in raw:
        raw = {name: raw[name] for name in raw if name != "observed_at"}
    item = parse_item(raw, text_fields, limits)
    return SourceLine(item.source_uri, item, observed_at)


def parse_observed_at(value: object) -> datetime:
    """A time with its zone, in UTC.

    Raises:
        InvalidField: it is none, has no zone, or is more than an hour from now.
    """
    example = "write it with its zone, such as 2026-01-31T08:30:00Z"
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidField("observed_at", f"{value!r:.60} is no time of ISO 8601; {example}")
    if moment.tzinfo is None:
        raise InvalidField("observed_at", f"{value!r:.60} has no zone; {example}")
    if moment > datetime.now(UTC) + _CLOCKS_DIFFER:
        raise InvalidField("observed_at", f"{value!r:.60} is in the future; nothing newer could replace it")
    return moment.astimezone(UTC)


def _gone_source(raw: Mapping[str, object]) -> str:
    if raw["gone"] is not True:
        raise InvalidField("gone", "must be true, or left out")
    if others := raw.keys() - _GONE_LINE:
        raise InvalidField(min(others), "doesn't go with gone: a source that is gone has no facts")
    if "source_uri" not in raw:
        raise InvalidField("source_uri", "missing")
    return parse_label(raw["source_uri"], "source_uri", MAX_URI_CHARS)
