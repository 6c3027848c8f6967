"""Text as MyST's Markdown takes it."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\<>*_\[\]{}|$])")
_SPACES = re.compile(r"\s+")
_CODE = re.compile(r"(``?)([^`]+)\1")


def plain(text: str) -> str:
    """Words that mean what they say; what stands between backquotes is code."""
    parts: list[str] = []
    end = 0
    for found in _CODE.finditer(text):
        parts += [_escaped(text[end : found.start()]), code(found[2])]
        end = found.end()
    return "".join([*parts, _escaped(text[end:])])


def code(text: str) -> str:
    """A literal, in a table too."""
    return f"`{text}`".replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already, without columns that are empty; nothing where there are no rows."""
    cells = list(rows)
    columns = [place for place in range(len(head)) if any(row[place] for row in cells)]
    lines = [[head[place] for place in columns], ["---"] * len(columns)]
    lines += [[row[place] for place in columns] for row in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if cells else ""


def page(*blocks: str) -> str:
    """Blocks with a blank line between them; empty ones are left out."""
    return "\n\n".join(block for block in blocks if block) + "\n"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", _SPACES.sub(" ", text))
