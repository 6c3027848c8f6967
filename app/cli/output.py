"""What commands print: results to standard output, everything else to standard error."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def fail(error: object) -> NoReturn:
    """Say what went wrong on standard error, and end with exit code 1."""
    typer.echo(f"Error: {error}", err=True)
    raise typer.Exit(1)


def note(message: str) -> None:
    """Something the user should know that isn't a result."""
    typer.echo(message, err=True)


def print_json(value: object) -> None:
    """One JSON document on standard output, indented."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    typer.echo(orjson.dumps(value, default=str, option=options).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table for people; numbers stand to the right, text that doesn't fit is cut with an ellipsis."""
    from rich.table import Table
    from rich.text import Text

    lines = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        numeric = bool(lines) and all(isinstance(line[index], int | float) for line in lines)
        table.add_column(name, justify="right" if numeric else "left", overflow="ellipsis")
    for line in lines:
        table.add_row(*(Text(_cell(cell)) for cell in line))
    console().print(table)


def console() -> "Console":
    """Standard output; as wide as the terminal, or 120 columns where there is none."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@contextmanager
def progress() -> Iterator["Progress"]:
    """A progress display on standard error, shown only if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal) as display:
        yield display


def printable(text: str) -> str:
    """Text from the data without control characters, which could drive the reader's terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return printable(str(value))
