"""The order of a list of facts, and places in it, from which the next page continues.

Values at a path are ordered by kind: numbers, then texts by code point, false, true. Arrays aren't
looked into. Facts without a value, or with null, an array or an object there, come last in both
directions.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.domain.condition_values import checked_text
from app.domain.conditions import Field, InData, InMetadata, Path
from app.domain.field_paths import require_plain
from app.domain.ids import ExtractionId
from app.domain.rows import ExtractionRow
from app.errors import InvalidField

MOST_SORTED = 200
"""How many characters of a text count for the order."""

SORTED_FIELDS = ("created", "changed", "confidence")

RANKS: Mapping[str, int] = {"number": 0, "text": 1, "false": 2, "true": 3}
"""The ranks of the kinds of values, in ascending order."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order by a field of the facts or by the value at a path; ids break ties."""

    by: Path
    descending: bool = False

    def __post_init__(self) -> None:
        """Reject a field or a path that facts can't be sorted by.

        Raises:
            InvalidField: facts can't be sorted by it.
        """
        if isinstance(self.by, Field) and self.by.name not in SORTED_FIELDS:
            raise InvalidField(
                "sort", f"facts aren't sorted by {self.by.name}, but by {', '.join(SORTED_FIELDS)} and by paths"
            )
        if not isinstance(self.by, Field):
            require_plain(self.by.keys, "sort")


class Place(NamedTuple):
    """A fact's place in an order: the kind of its value, the value as text, and its id."""

    kind: str
    value: str
    id: ExtractionId


ABSENT = "absent"

_MOST_DIGITS = 20


def read_place(order: Order, kind: str, value: str, id_: str) -> Place:
    """Parse a place in an order from the texts of a :class:`Place`.

    Raises:
        ValueError: they aren't a place in this order.
    """
    by_time = order.by in {Field("created"), Field("changed")}
    kinds = {"time"} if by_time else {"number", ABSENT} if isinstance(order.by, Field) else {*RANKS, ABSENT}
    fits = {
        "time": lambda: datetime.fromisoformat(value).tzinfo is not None,
        "number": lambda: _is_number(value),
        "text": lambda: checked_text(value, "the place") == value and len(value) <= MOST_SORTED,
    }
    if kind not in kinds or not fits.get(kind, lambda: not value)():
        raise ValueError(f"{kind!r:.40} {value!r:.40}")
    return Place(kind, value, ExtractionId(UUID(id_)))


def _is_number(value: str) -> bool:
    """Whether the text is a finite float or a 64-bit integer, as Python writes it."""
    number: float = float(value) if any(sign in value for sign in ".e") else int(value[:_MOST_DIGITS])
    return repr(number) == value and (
        -(2**63) <= number < 2**63 if isinstance(number, int) else math.isfinite(number)
    )


def place_of(order: Order, row: ExtractionRow) -> Place:
    """Return a fact's place in the order."""
    match order.by:
        case Field("created"):
            return Place("time", row.created_at.isoformat(), row.id)
        case Field("changed"):
            return Place("time", (row.changed_at or row.created_at).isoformat(), row.id)
        case Field():
            return _place(row.confidence, row.id)
        case InData(keys):
            return _place(_at(row.data, keys), row.id)
        case InMetadata(keys):
            return _place(_at(row.metadata, keys), row.id)


def _at(document: object, keys: tuple[str, ...]) -> Any:  # noqa: ANN401 - any JSON value
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _place(value: object, id_: ExtractionId) -> Place:
    match value:
        case bool():
            return Place(str(value).lower(), "", id_)
        case int() | float():
            return Place("number", repr(value), id_)
        case str():
            return Place("text", value[:MOST_SORTED], id_)
        case _:
            return Place(ABSENT, "", id_)
