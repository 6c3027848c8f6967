"""Prints the results of ``extractions count --by`` and ``projects describe``."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson

from app.cli.output import counted, note, print_json, print_table, printable
from app.domain.fields import Description, Facet, Facets


def print_facets(project: str, found: Facets, *, as_json: bool) -> None:
    """Print a table for each facet, or all facets as one JSON object."""
    if as_json:
        print_json({"project": project, **asdict(found)})
        return
    for facet in found.facets:
        print_table((facet.by, "extractions"), _rows(facet), wide=facet.by)
    note(f"{counted(found.count, 'extraction')} in total.")


def _rows(facet: Facet) -> Sequence[tuple[object, object]]:
    rows: list[tuple[object, object]] = [(_written(each.value), each.count) for each in facet.values]
    if facet.rest_values:
        rows.append((f"(other values: {facet.rest_values:,})", facet.rest))
    if facet.objects:
        rows.append(("(objects)", facet.objects))
    if facet.missing:
        rows.append(("(absent)", facet.missing))
    if (numbers := facet.numbers) is not None:
        deciles = ", ".join(f"{each:g}" for each in numbers.deciles)
        spread = f"{numbers.min:g} to {numbers.max:g}, mean {numbers.mean:g}, deciles {deciles}"
        rows.append((f"(numbers: {spread})", numbers.count))
    return rows


def print_description(project: str, found: Description, *, as_json: bool) -> None:
    """Print a table for each type, or all types as one JSON object."""
    if as_json:
        print_json({"project": project, **asdict(found)})
        return
    for each in found.types:
        rows = [
            (
                field.path,
                ", ".join(sorted(field.kinds)),
                field.facts,
                ", ".join(map(_written, field.examples)),
            )
            for field in each.fields
        ]
        title = f"{printable(each.type)}: {counted(each.facts, 'extraction')}"
        print_table(("field", "kinds", "extractions", "examples"), rows, title=title, wide="examples")
    if not found.types:
        note(f"Project {printable(project)} has no extractions.")
    elif not found.whole:
        note(f"Based on a sample of {counted(found.sampled, 'extraction')}.")


def _written(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return printable(value) if isinstance(value, str) else orjson.dumps(value).decode()
