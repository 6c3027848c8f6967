"""``agent-storage config``: shows the settings with their origins, and checks them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.cli.context import Json
from app.cli.output import console, say

if TYPE_CHECKING:
    from rich.table import Table

    from app.config import Entry, Reading
    from app.errors import Problem

app = typer.Typer(help="Show and check the settings.", no_args_is_help=True)


@app.command()
def show(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Print each setting with its value and origin; secrets are masked."""
    reading = _read(ctx)
    if as_json:
        _print_json(
            {"items": [asdict(entry) for entry in reading.entries], **_remarks(reading.problems, reading)}
        )
    else:
        console().print(_entries_table(reading.entries))
    _print_remarks(reading, to_stderr=True)
    raise typer.Exit(1 if reading.problems else 0)


@app.command()
def check(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Print all problems of the settings, or OK. Exit code 1 if there are any."""
    reading = _read(ctx)
    found = [*reading.problems, *_problems_of_indexes(reading)]
    if as_json:
        _print_json(_remarks(found, reading))
    else:
        _print_remarks(replace(reading, problems=tuple(found)), to_stderr=False)
        say(_verdict(found))
    raise typer.Exit(1 if found else 0)


def _problems_of_indexes(reading: "Reading") -> "list[Problem]":
    """Problems of the paths in database.data_indexes, which the settings themselves don't parse."""
    from app.errors import InvalidField, Problem
    from app.intake.where_text import parse_index_paths

    paths = reading.settings.database.data_indexes if reading.settings else ()
    try:
        parse_index_paths(paths)
    except InvalidField as error:
        return [Problem(error.field, json.dumps(paths), error.reason)]
    return []


def _read(ctx: typer.Context) -> "Reading":
    from app.config import read_settings

    config_file: Path | None = getattr(ctx.obj, "config_file", None)
    return read_settings(config_file)


def _verdict(problems: "Sequence[Problem]") -> str:
    if not problems:
        return "OK"
    return f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"


def _remarks(problems: "Sequence[Problem]", reading: "Reading") -> dict[str, object]:
    found = [asdict(problem) for problem in problems]
    return {"ok": not found, "problems": found, "warnings": reading.warnings}


def _print_json(document: object) -> None:
    # Not orjson: it refuses lone surrogates and integers above 64 bits, which wrong values may
    # have.
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def _print_remarks(reading: "Reading", *, to_stderr: bool) -> None:
    for warning in reading.warnings:
        say(f"Warning: {warning}", err=True)
    for problem in reading.problems:
        say(f"Error: {problem}", err=to_stderr)


def _entries_table(entries: "Sequence[Entry]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from app.settings.masking import as_text

    table = Table("setting", "value", "source")
    for column in table.columns:
        column.overflow = "fold"
    for entry in entries:
        # Text, because rich would interpret a value as markup.
        table.add_row(entry.key, Text(as_text(entry.value)), Text(entry.source))
    return table
