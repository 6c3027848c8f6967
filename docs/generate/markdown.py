"""Writing Markdown for MyST."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\<>*_\[\]{}|$])")
_SPACES = re.compile(r"\s+")
_CODE = re.compile(r"(``?)([^`]+)\1")


def plain(text: str) -> str:
    """Escape text, except that text between backquotes becomes code."""
    parts: list[str] = []
    end = 0
    for found in _CODE.finditer(text):
        parts += [_escaped(text[end : found.start()]), code(found[2])]
        end = found.end()
    return "".join([*parts, _escaped(text[end:])])


def code(text: str) -> str:
    """Format a literal, which may stand in a table."""
    return f"`{text}`".replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table of Markdown cells, without empty columns; return "" if there are no rows."""
    cells = list(rows)
    columns = [place for place in range(len(head)) if any(row[place] for row in cells)]
    lines = [[head[place] for place in columns], ["---"] * len(columns)]
    lines += [[row[place] for place in columns] for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if cells else ""


def page(*blocks: str) -> str:
    """Join blocks with blank lines, leaving out empty ones."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", _SPACES.sub(" ", text))
