"""The lines of a replace, and the facts of a source that they make up."""

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
    """What a replace covers: only the sources given, or the project with all its sources."""

    SOURCE = "source"
    PROJECT = "project"


@dataclass(frozen=True, slots=True)
class ReplaceOptions:
    """The options of a replace.

    ``observed_at`` is when the sources were observed, for lines that don't say so; None is now.
    ``dry_run`` reports what would change and writes nothing. Without ``allow_mass_delete``, a
    replace is refused if it removes more than 20 facts, and more than half of those of a source or
    the project.
    """

    scope: ReplaceScope = ReplaceScope.SOURCE
    observed_at: datetime | None = None
    run_id: RunId | None = None
    dry_run: bool = False
    allow_mass_delete: bool = False


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One line of a replace: a fact of a source, or (``item`` is None) that the source is gone."""

    source_uri: str
    item: Item | None
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """All current facts of one source. ``gone`` says explicitly that there are none.

    ``line`` is the source's first line in the input, counted from 1.
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
    """Filters on sources; an empty one restricts nothing. A ``gone`` source has no extractions."""

    source_groups: Sequence[str] = ()
    uri_prefix: str | None = None
    gone: bool | None = None

    def __post_init__(self) -> None:
        """Put texts in NFC, as they are stored."""
        groups = tuple(composed(group, "source_groups") for group in self.source_groups)
        object.__setattr__(self, "source_groups", groups)
        if self.uri_prefix is not None:
            object.__setattr__(self, "uri_prefix", composed(self.uri_prefix, "uri_prefix"))


def parse_source_line(raw: object, text_fields: Sequence[str], limits: ItemLimits = _LIMITS) -> SourceLine:
    """Check one line of a replace, as decoded from JSON.

    It is an item, which may have ``observed_at``, or a source that is gone.

    Raises:
        InvalidInput: it is neither. The message names the field and the reason.
    """
    if not isinstance(raw, Mapping):
        item = parse_item(raw, text_fields, limits)  # raises the error
        return SourceLine(item.source_uri, item, None)
    observed_at = None if raw.get("observed_at") is None else parse_observed_at(raw["observed_at"])
    if "gone" in raw:
        return SourceLine(_gone_source(raw), None, observed_at)
    if "observed_at" in raw:
        raw = {name: raw[name] for name in raw if name != "observed_at"}
    item = parse_item(raw, text_fields, limits)
    return SourceLine(item.source_uri, item, observed_at)


def parse_observed_at(value: object) -> datetime:
    """Parse a time with its zone, and convert it to UTC.

    Raises:
        InvalidField: it isn't a time, has no zone, or is more than an hour in the future.
    """
    example = "write it with its zone, such as 2026-01-31T08:30:00Z"
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidField("observed_at", f"{value!r:.60} isn't an ISO 8601 time; {example}")
    if moment.tzinfo is None:
        raise InvalidField("observed_at", f"{value!r:.60} has no zone; {example}")
    if moment > datetime.now(UTC) + _CLOCKS_DIFFER:
        raise InvalidField("observed_at", f"{value!r:.60} is in the future, so no later replace would be newer")
    return moment.astimezone(UTC)


def _gone_source(raw: Mapping[str, object]) -> str:
    if raw["gone"] is not True:
        raise InvalidField("gone", "must be true, or left out")
    if others := raw.keys() - _GONE_LINE:
        raise InvalidField(min(others), "can't be given with gone, because a source that is gone has no facts")
    if "source_uri" not in raw:
        raise InvalidField("source_uri", "missing")
    return parse_label(raw["source_uri"], "source_uri", MAX_URI_CHARS)
