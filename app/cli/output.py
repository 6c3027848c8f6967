"""What commands print: results to standard output, everything else to standard error."""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text


_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON lets stand and a terminal takes for commands or turns its text round by."""

_NOT_ASCII = re.compile("[^\x00-\x7e]")

_FRAME = 4  # a cell's border and blanks, and some left for the wide column
_ROOMY = 80
"""From that width on a whole column may take half of it."""


def say(message: str, *, err: bool = False) -> None:
    """A line or several for people, without what would drive their terminal."""
    typer.echo("".join(char if char.isprintable() or char in "\n\t" else " " for char in message), err=err)


def fail(error: object) -> NoReturn:
    """Say what went wrong on standard error, and end with exit code 1."""
    say(f"Error: {error}", err=True)
    raise typer.Exit(1)


def note(message: str) -> None:
    """Something the user should know that isn't a result."""
    say(message, err=True)


def print_json(value: object) -> None:
    """One JSON document on standard output, indented."""
    import orjson

    typer.echo(_json(value, orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))


def print_json_lines(values: Iterable[object]) -> None:
    """One JSON document a line on standard output."""
    import orjson

    for value in values:
        typer.echo(_json(value, orjson.OPT_NON_STR_KEYS))


def _json(value: object, options: int) -> str:
    """JSON in which what would drive a terminal is escaped; and all that isn't ASCII, where the output has another encoding
    than UTF-8.
    """
    import orjson

    by_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return (_UNSAFE if by_utf8 else _NOT_ASCII).sub(
        _escaped, orjson.dumps(value, default=str, option=options).decode()
    )


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def counted(count: int, noun: str) -> str:
    """A count with its noun, such as ``1 extraction`` and ``2,000 extractions``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    wide: str = "text",
    whole: Collection[str] = (),
) -> None:
    """A table for people; numbers stand to the right, words that don't fit are cut with an ellipsis.

    A column named ``wide`` gets the width that the others leave, which then keep to one line and to
    their share. What is in a column of ``whole`` is never cut: it goes on in the next line, on a
    narrow terminal below what is ``wide``. A cell that is a tuple has a line for each member.
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
    """The table without the columns of ``whole``, what is in them below what is ``wide``."""
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
    """Standard output; as wide as the terminal, or 120 columns where there is none."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@contextmanager
def progress(*, shown: bool = True) -> Iterator["Progress"]:
    """A progress display on standard error, if that is a terminal and it is to be shown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    terminal = Console(stderr=True)
    with Progress(*columns, console=terminal, disable=not (shown and terminal.is_terminal)) as display:
        yield display


def printable(text: str) -> str:
    """Text from the data without control characters, which could drive the reader's terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def _text(cell: object) -> "Text":
    """A cell as it is printed; what has a style keeps it."""
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
