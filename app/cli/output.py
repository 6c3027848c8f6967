"""Prints results to standard output, and everything else to standard error."""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text


_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that JSON leaves unescaped, but that control a terminal or its text direction."""

_NOT_ASCII = re.compile("[^\x00-\x7e]")

_ITEMS = '{"items": ['

_FRAME = 4  # the width of a cell's border and padding, and a reserve for the wide column
_ROOMY = 80
"""The terminal width from which a ``whole`` column may take half of it, not a third."""


def say(message: str, *, err: bool = False) -> None:
    """Print one or more lines for people, without terminal control characters."""
    typer.echo("".join(char if char.isprintable() or char in "\n\t" else " " for char in message), err=err)


def fail(error: object) -> NoReturn:
    """Print an error to standard error, and exit with code 1."""
    say(f"Error: {error}", err=True)
    raise typer.Exit(1)


def note(message: str) -> None:
    """Print a remark to standard error."""
    say(message, err=True)


def note_more(limit: int, *, more: bool) -> None:
    """Say that a list goes on after its limit, if it does."""
    if more:
        note(f"There are more than these {limit:,}; --limit shows more.")


def print_json(value: object) -> None:
    """Print one indented JSON document to standard output."""
    import orjson

    typer.echo(_json(value, orjson.OPT_INDENT_2))


def print_json_lines(values: Iterable[object]) -> None:
    """Print one JSON document per line to standard output."""
    for value in values:
        typer.echo(_json(value))


@dataclass(slots=True)
class JsonItems:
    """Prints a JSON document whose ``items`` come bit by bit, so that none are held."""

    _any: bool = False

    def add(self, items: Iterable[object]) -> None:
        """Print further items, each on its own line."""
        for item in items:
            typer.echo(("," if self._any else _ITEMS) + "\n" + _json(item), nl=False)
            self._any = True

    def end(self, **rest: object) -> None:
        """Print the document's other members, at least one."""
        typer.echo(("\n" if self._any else _ITEMS) + "], " + _json(rest)[1:])


def _json(value: object, options: int = 0) -> str:
    """Encode as JSON, with times as in the API, and with terminal control characters escaped.

    If the output's encoding isn't UTF-8, all non-ASCII characters are escaped.
    """
    import orjson

    by_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    options |= orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    return (_UNSAFE if by_utf8 else _NOT_ASCII).sub(
        _escaped, orjson.dumps(value, default=str, option=options).decode()
    )


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def counted(count: int, noun: str) -> str:
    """A count with its noun, such as ``1 extraction`` and ``2,000 extractions``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown_moment(moment: "datetime | None", *, seconds: bool = False) -> str:
    """A moment to the minute or to the second, or nothing for None."""
    if moment is None:
        return ""
    return f"{moment:%Y-%m-%d %H:%M:%S}" if seconds else f"{moment:%Y-%m-%d %H:%M}"


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    wide: str = "text",
    whole: Collection[str] = (),
) -> None:
    """Print a table for people.

    Numbers are right-aligned, and texts that don't fit are truncated with an ellipsis. The column
    named ``wide`` gets the remaining width; the other columns then keep to one line and to an equal
    share. Columns in ``whole`` are never truncated: they wrap, and on a narrow terminal their
    content moves below that of ``wide``. A tuple as a cell has a line for each member.
    """
    from rich.table import Table

    lines = [list(row) for row in rows]
    screen = console()
    if screen.width < _ROOMY and wide in columns:
        columns, lines = _stacked(columns, lines, wide, whole)
    share = screen.width // len(columns) - _FRAME if wide in columns else None
    table = Table(title=title, title_justify="left", title_style="bold", expand=share is not None)
    for name, cells in zip(columns, zip(*lines, strict=True) if lines else [()] * len(columns), strict=True):
        if name == wide:
            table.add_column(name, ratio=1, overflow="fold")
        elif name in whole:
            table.add_column(
                name, overflow="fold", max_width=screen.width // (2 if screen.width >= _ROOMY else 3)
            )
        else:
            justify: Literal["left", "right"] = "right" if _numeric(cells) else "left"
            table.add_column(
                name, justify=justify, overflow="ellipsis", no_wrap=share is not None, max_width=share
            )
    for line in lines:
        table.add_row(*(_text(cell) for cell in line))
    screen.print(table)


def _stacked(
    columns: Sequence[str], lines: Sequence[list[object]], wide: str, whole: Collection[str]
) -> tuple[Sequence[str], list[list[object]]]:
    """Move the content of the columns in ``whole`` below that of the column ``wide``."""
    kept = [place for place, name in enumerate(columns) if name not in whole]
    below = [place for place, name in enumerate(columns) if name in whole]
    at = kept.index(columns.index(wide))
    stacked = []
    for line in lines:
        row = [line[place] for place in kept]
        row[at] = (*_members(row[at]), *(member for place in below for member in _members(line[place])))
        stacked.append(row)
    return [columns[place] for place in kept], stacked


def _members(cell: object) -> tuple[object, ...]:
    return cell if isinstance(cell, tuple) else (cell,)


def _numeric(cells: Sequence[object]) -> bool:
    given = [cell for cell in cells if cell is not None]
    return bool(given) and all(isinstance(cell, int | float) for cell in given)


def console() -> "Console":
    """A console on standard output, as wide as the terminal, or 120 columns without one."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@contextmanager
def progress(*, shown: bool = True) -> Iterator["Progress"]:
    """A progress display on standard error, if ``shown`` and if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, disable=not (shown and terminal.is_terminal)) as display:
        yield display


def printable(text: str) -> str:
    """Replace control characters in stored text, which could control the reader's terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _text(cell: object) -> "Text":
    """Format a cell; styled text keeps its style."""
    from rich.text import Text

    if isinstance(cell, Text):
        return cell
    if isinstance(cell, tuple):
        return Text("\n").join(map(_text, cell))
    return Text(_cell(cell))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "\n".join(map(_cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    return printable(str(value))
