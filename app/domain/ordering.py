"""The order of a list of facts, and places in it, from which the next page goes on.

Values at a path go by their kind: numbers, then texts by code point, false, true; arrays aren't looked into. A fact without one comes last, up and
down; so does one with null, an array or an object there.
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
"""Of a longer text, the first so many characters count."""

SORTED_FIELDS = ("created", "changed", "confidence")

RANKS: Mapping[str, int] = {"number": 0, "text": 1, "false": 2, "true": 3}
"""Of the kinds of values, in ascending order."""


@dataclass(frozen=True, slots=True)
class Order:
    """By a field of the facts' own, or by what stands at a path. Of facts that are alike there, ids decide."""

    by: Path
    descending: bool = False

    def __post_init__(self) -> None:
        """Refuse what facts aren't sorted by.

        Raises:
            InvalidField: facts aren't sorted by that field.
        """
        if isinstance(self.by, Field) and self.by.name not in SORTED_FIELDS:
            raise InvalidField(
                "sort", f"facts aren't sorted by {self.by.name}, but by {', '.join(SORTED_FIELDS)} and by paths"
            )
        if not isinstance(self.by, Field):
            require_plain(self.by.keys, "sort")


class Place(NamedTuple):
    """Where a fact stands in an order: the kind of its value, the value as text, and its id."""

    kind: str
    value: str
    id: ExtractionId


ABSENT = "absent"

_MOST_DIGITS = 20


def read_place(order: Order, kind: str, value: str, id_: str) -> Place:
    """The place in an order that these texts name, as those of a :class:`Place` do.

    Raises:
        ValueError: they name none.
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
    """As Python writes a finite float or an integer of 64 bits."""
    number: float = float(value) if any(sign in value for sign in ".e") else int(value[:_MOST_DIGITS])
    return repr(number) == value and (
        -(2**63) <= number < 2**63 if isinstance(number, int) else math.isfinite(number)
    )


def place_of(order: Order, row: ExtractionRow) -> Place:
    """Where a fact stands."""
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


def _at(document: object, keys: tuple[str, ...]) -> Any:  # noqa: ANN401 - whatever stands there
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
