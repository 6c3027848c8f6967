"""What a command reads extractions from: the file, its format, and what the user says of its columns."""

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
    """What takes in the columns that nothing is said of."""

    DATA = "data"
    METADATA = "metadata"


_COLUMNS = "Columns"

OfFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="What the file is. Default: by its name (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, each text also .gz); "
        "JSON lines if that tells nothing.",
    ),
]
Mapped = Annotated[
    list[str],
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN",
        help="Which column is which field: source_uri, source_group, extraction_type, confidence, data.NAME, metadata.NAME … "
        "Repeatable. A column with the name of a field needs none.",
        rich_help_panel=_COLUMNS,
    ),
]
Constants = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A field that is the same in all rows, such as extraction_type=price. Repeatable.",
        rich_help_panel=_COLUMNS,
    ),
]
OfRest = Annotated[
    Rest | None,
    typer.Option("--rest", help="Where all columns go that nothing is said of.", rich_help_panel=_COLUMNS),
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
        help="Of a CSV: take its cells as text, also 36 and true. Repeatable.",
        rich_help_panel=_COLUMNS,
    ),
]
Numbers = Annotated[
    list[str],
    typer.Option(
        "--number",
        metavar="COLUMN",
        help="Of a CSV: take its cells as numbers, also 1.50, and refuse others. Repeatable.",
        rich_help_panel=_COLUMNS,
    ),
]


@dataclass(frozen=True)
class InputFile:
    """A file, or standard input for ``-``."""

    name: str
    format: Format | None = None
    mapping: "ColumnMapping | None" = None

    def require(self) -> None:
        """End the command if there is no such file, before it makes a store."""
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
    """What the options say of columns; None if they say nothing. Ends the command where they can't be used."""
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
