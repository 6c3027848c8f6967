"""Prints extractions: a list of them, or all details of one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.cli.output import JsonItems, print_table, shown_moment
from app.domain.documents import extraction_as_dict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.domain.rows import ExtractionRow, ExtractionRows
    from app.domain.text import TextRules

_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class ShownRows:
    """Prints pages as tables with texts made by ``rules``, or into one JSON document."""

    rules: "TextRules"
    document: JsonItems | None

    def print(self, rows: "ExtractionRows") -> None:
        """Print a page."""
        if self.document is not None:
            self.document.add(map(extraction_as_dict, rows))
            return
        print_table(
            ("text", "type", "state", "source and id"),
            [
                (self._what(row), row.extraction_type, _state(row), (row.source_uri, str(row.id)))
                for row in rows
            ],
            whole=("source and id",),
        )

    def _what(self, row: "ExtractionRow") -> tuple[str, ...]:
        text = shown_text(row.extraction_type, row.data, self.rules)
        shown = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
        return (shown,) if row.set_aside_reason is None else (shown, f"set aside: {row.set_aside_reason}")


def shown_text(extraction_type: str, data: "Mapping[str, Any]", rules: "TextRules") -> str:
    """The text that is embedded of an extraction, or its data if the text can't be made."""
    from app.domain.text import text_of
    from app.errors import InvalidInput

    try:
        return text_of(extraction_type, data, rules)
    except InvalidInput:  # stored under other text fields than the current ones
        return str(data)


def print_whole(row: "ExtractionRow") -> None:
    """Print all details of one extraction, for people."""
    import orjson

    def document(value: dict[str, Any]) -> tuple[str, ...]:
        return tuple(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().split("\n"))

    column = "extraction (times in UTC)"
    lines: list[tuple[str, object]] = [
        ("id", str(row.id)),
        ("project", row.project),
        ("source", row.source_uri),
        ("group", row.source_group),
        ("type", row.extraction_type),
        ("confidence", "" if row.confidence is None else str(row.confidence)),
        ("state", _state(row)),
        ("set aside because", row.set_aside_reason),
        ("first stored", shown_moment(row.created_at)),
        ("changed", shown_moment(row.changed_at)),
        ("first run", row.first_run_id),
        ("last run", row.last_run_id),
        ("metadata", "" if row.metadata is None else document(row.metadata)),
        ("data", document(row.data)),
    ]
    print_table(("", column), [(name, value) for name, value in lines if value not in {None, ""}], wide=column)


def _state(row: "ExtractionRow") -> str:
    if row.embedding_id is not None:
        return "indexed"
    return "waiting" if row.set_aside_reason is None else "set aside"
