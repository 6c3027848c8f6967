"""The container's diagram as a table, because the site doesn't draw Mermaid."""

import re

from generate.markdown import table

_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_PART = re.compile(r"\s*(\w+)(\(?)\[")
_ARROW = re.compile(r"\s*(\w+) --> (\w+)")


def with_diagrams_as_tables(text: str) -> str:
    """Replace each flowchart by a table of the parts and what they are made of.

    Resources are in brackets.
    """
    return _DIAGRAM.sub(lambda found: f"{_parts(found[1])}\n", text)


def _parts(diagram: str) -> str:
    shown: dict[str, str] = {}
    made_of: dict[str, list[str]] = {}
    for line in diagram.splitlines():
        if found := _ARROW.match(line):
            made_of[found[1]].append(found[2])
        elif found := _PART.match(line):
            made_of[found[1]] = []
            shown[found[1]] = f"({found[1]})" if found[2] else found[1]
    return table(("Part", "Made of"), [(shown[part], ", ".join(made_of[part])) for part in made_of])
