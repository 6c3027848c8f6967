"""Prints the changes of a run, of a source, or of an extraction."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from app.cli.extraction_rows import shown_text
from app.cli.naming import unless_missing
from app.cli.output import note, note_more, print_json, print_json_lines, print_table, shown_moment
from app.domain.changes import Change, ChangeKind, FeedPage, FeedPlace, History
from app.domain.cursors import write_place
from app.domain.documents import change_as_dict
from app.domain.ids import ExtractionId, RunId, SourceId
from app.domain.text import TextRules

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts

_Texts = Mapping[ExtractionId, str]

_NOT_WHOLE = (
    "The history is incomplete: changes older than retention.history are deleted, and changes made before histories "
    "were recorded are unknown."
)


@dataclass(frozen=True, slots=True)
class NamedHistory:
    """A history, with the names of its sources and runs."""

    history: History
    sources: Mapping[SourceId, str] | None = None
    runs: Mapping[RunId, str] = field(default_factory=dict)

    @classmethod
    async def with_sources(cls, parts: "ServiceParts", project: str, history: History) -> "NamedHistory":
        """Add each source's URI; a deleted source's is taken from the history if possible."""
        uris = dict(_uris(history.changes))
        for source_id in {change.source_id for change in history.changes} - uris.keys():
            row = await unless_missing(partial(parts.sources().get, project, source_id))
            if row is not None:
                uris[source_id] = row.uri
        return cls(history, uris)

    @classmethod
    async def with_runs(cls, parts: "ServiceParts", project: str, history: History) -> "NamedHistory":
        """Add the name of each run."""
        names: dict[RunId, str] = {}
        for run_id in {change.run_id for change in history.changes if change.run_id is not None}:
            row = await unless_missing(partial(parts.runs().get, project, str(run_id)))
            if row is not None:
                names[run_id] = row.name
        return cls(history, runs=names)


def _uris(changes: Iterable[Change]) -> Iterable[tuple[SourceId, str]]:
    for change in changes:
        if change.extraction is not None:
            yield change.source_id, change.extraction.source_uri
        elif change.kind is ChangeKind.SOURCE_DELETED and change.before is not None:
            yield change.source_id, str(change.before["uri"])


def print_changes(named: NamedHistory, limit: int, rules: TextRules, *, as_json: bool) -> None:
    """Print the first ``limit`` changes, and whether the history goes on or is incomplete."""
    changes, whole = named.history.changes[:limit], named.history.is_whole
    more = named.history.before is not None or len(named.history.changes) > limit
    if as_json:
        print_json({"items": [change_as_dict(each) for each in changes], "more": more, "whole": whole})
    elif not changes:
        note("Nothing was changed.")
    else:
        texts = dict(_texts(named.history.changes, rules))
        if named.sources is not None:
            _print_with_sources(changes, named.sources, texts)
        else:
            _print_with_times(changes, named.runs, texts)
    note_more(limit, more=more)
    if not more and not whole:
        note(_NOT_WHOLE)


def print_feed(named: NamedHistory, rules: TextRules) -> None:
    """Print a page of the feed for people."""
    changes = named.history.changes
    _print_with_sources(changes, named.sources or {}, dict(_texts(changes, rules)))


def print_feed_lines(page: FeedPage, start: FeedPlace) -> None:
    """Print a page of the feed as JSON lines, each with the cursor after it."""
    lines = ({**change_as_dict(each), "cursor": write_place(place)} for place, each in page.placed(start))
    print_json_lines(lines)


def _print_with_sources(changes: Iterable[Change], sources: Mapping[SourceId, str], texts: _Texts) -> None:
    print_table(
        ("change", "type", "extraction", "source"),
        [
            (
                change.kind,
                _type(change),
                _what(change, texts),
                sources.get(change.source_id, str(change.source_id)),
            )
            for change in changes
        ],
        wide="extraction",
        whole=("change", "source"),
    )


def _print_with_times(changes: Iterable[Change], runs: Mapping[RunId, str], texts: _Texts) -> None:
    print_table(
        ("at (UTC)", "change", "extraction", "run"),
        [
            (
                shown_moment(change.at, seconds=True),
                change.kind,
                _what(change, texts),
                _run(change.run_id, runs),
            )
            for change in changes
        ],
        wide="extraction",
        whole=("at (UTC)", "change", "run"),
    )


def _run(run_id: RunId | None, names: Mapping[RunId, str]) -> tuple[str, ...]:
    """A run as `runs list` shows it: its name and its id."""
    return () if run_id is None else tuple(filter(None, (names.get(run_id), str(run_id))))


def _type(change: Change) -> str:
    if change.extraction is not None:
        return change.extraction.extraction_type
    return str((change.before or {}).get("extraction_type", ""))


def _texts(changes: Iterable[Change], rules: TextRules) -> Iterator[tuple[ExtractionId, str]]:
    """The texts of the extractions as they are, or as they were when removed."""
    for change in changes:
        if change.extraction is not None:
            yield change.extraction.id, shown_text(_type(change), change.extraction.data, rules)
        elif change.kind is ChangeKind.REMOVED and change.extraction_id and change.before:
            yield change.extraction_id, shown_text(_type(change), change.before["data"], rules)


def _what(change: Change, texts: _Texts) -> str:
    """Describe a change: the extraction's text, and its earlier values."""
    before = change.before or {}
    match change.kind:
        case ChangeKind.REGROUPED:
            after = change.after or {"group": None}
            return f"the source moved from {_group(before['group'])} to {_group(after['group'])}"
        case ChangeKind.SOURCE_DELETED:
            return f"the source {before['uri']}"
        case ChangeKind.ADDED | ChangeKind.CHANGED | ChangeKind.REMOVED:
            id_ = change.extraction_id
            text = "" if id_ is None else texts.get(id_, str(id_))
            return f"{text} ({_was(change, before)})" if change.kind is ChangeKind.CHANGED else text
        case _:
            assert_never(change.kind)


def _group(name: str | None) -> str:
    return "no group" if name is None else f"group {name}"


def _was(change: Change, before: Mapping[str, Any]) -> str:
    """The earlier confidence and metadata of a changed extraction, if they differ from today's."""
    now = change.extraction
    were = []
    if now is None or now.confidence != before["confidence"]:
        were.append(f"confidence was {_or_none(before['confidence'])}")
    if now is None or now.metadata != before["metadata"]:
        were.append(f"metadata was {_or_none(before['metadata'])}")
    return ", ".join(were) or "changed back since"


def _or_none(value: object) -> str:
    import orjson

    return "none" if value is None else orjson.dumps(value).decode()
