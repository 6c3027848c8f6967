"""The input file of a command: its name, its format and its columns."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import usage_error
from app.cli.output import fail
from app.errors import InvalidInput
from app.intake.formats import Format

if TYPE_CHECKING:
    from app.intake.mapping import ColumnMapping, Path
    from app.intake.rows import RowReader


class Rest(StrEnum):
    """Where all columns go that no other option names."""

    DATA = "data"
    METADATA = "metadata"


_COLUMNS = "Columns"

OfFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="The file's format. Default: by its name (.jsonl, .ndjson, .json, .csv, .tsv, .parquet; text formats also "
        "with .gz); otherwise JSON lines.",
    ),
]
Mapped = Annotated[
    list[str],
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="The column of a field: source_uri, source_group, extraction_type, confidence, data.NAME, metadata.NAME … "
        "Repeatable. Columns named like a field are mapped already.",
        rich_help_panel=_COLUMNS,
    ),
]
Constants = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A field with the same value in all rows, such as extraction_type=price. Repeatable.",
        rich_help_panel=_COLUMNS,
    ),
]
OfRest = Annotated[
    Rest | None,
    typer.Option("--rest", help="Where all columns go that no option names.", rich_help_panel=_COLUMNS),
]
Ignored = Annotated[
    list[str],
    typer.Option(
        "--ignore", metavar="COLUMN", help="Leave a column out. Repeatable.", rich_help_panel=_COLUMNS
    ),
]
Texts = Annotated[
    list[str],
    typer.Option(
        "--text",
        metavar="COLUMN",
        help="For CSV: read this column's cells as text, even 36 and true. Repeatable.",
        rich_help_panel=_COLUMNS,
    ),
]
Numbers = Annotated[
    list[str],
    typer.Option(
        "--number",
        metavar="COLUMN",
        help="For CSV: read this column's cells as numbers, even 1.50, and refuse others. Repeatable.",
        rich_help_panel=_COLUMNS,
    ),
]


@dataclass(frozen=True)
class InputFile:
    """A file, or standard input for ``-``."""

    name: str
    format: Format | None = None
    mapping: "ColumnMapping | None" = None

    @property
    def is_stdin(self) -> bool:
        """Whether it is standard input, which can't be read again."""
        return self.name == "-"

    def require(self) -> None:
        """End the command if the file doesn't exist, before a store is created."""
        from app.intake.opening import check_there

        try:
            check_there(self.name)
        except InvalidInput as error:
            fail(error)

    def open(
        self, text_fields: Sequence[str], *, skip_invalid: bool = False
    ) -> AbstractContextManager["RowReader"]:
        """See :func:`app.intake.opening.open_rows`."""
        from app.intake.opening import open_rows

        return open_rows(
            self.name, text_fields, format_=self.format, mapping=self.mapping, skip_invalid=skip_invalid
        )


def mapping_of(
    mapped: Sequence[str],
    constants: Sequence[str],
    rest: Rest | None,
    ignored: Sequence[str],
    texts: Sequence[str],
    numbers: Sequence[str],
) -> "ColumnMapping | None":
    """The column mapping of the options; None without any. Invalid options end the command."""
    from app.intake.csv_cells import constant_of
    from app.intake.mapping import ColumnMapping

    if not (mapped or constants or rest or ignored or texts or numbers):
        return None
    try:
        return ColumnMapping(
            mapped=dict(_pairs("--map", "COLUMN", mapped)),
            constants={path: constant_of(path, value) for path, value in _pairs("--set", "VALUE", constants)},
            rest=None if rest is None else rest.value,
            ignored=frozenset(ignored),
            texts=frozenset(texts),
            numbers=frozenset(numbers),
        )
    except InvalidInput as error:
        usage_error(str(error))


def _pairs(option: str, of: str, values: Sequence[str]) -> "list[tuple[Path, str]]":
    from app.intake.mapping import path_of

    pairs: dict[Path, str] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not (name and equals and rest):
            usage_error(f"{option} takes FIELD={of}, not {value!r}")
        try:
            path = path_of(name)
        except InvalidInput as error:
            usage_error(f"{option} {value}: {error}")
        if path in pairs:
            usage_error(f"{option} gives {name} twice; keep one of them")
        pairs[path] = rest
    return list(pairs.items())
