"""Orders of extractions in SQL: the columns to sort by, and what is beyond a place."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Numeric,
    Text,
    case,
    cast,
    func,
    literal,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from app.domain.conditions import Field, InData, InMetadata
from app.domain.ordering import MOST_SORTED, RANKS, Order, Place
from app.models import Extraction, UtcDateTime

_TABLE = Extraction.__table__
_BEFORE_ALL, _AFTER_ALL = -1, len(RANKS)


class Ordering:
    """An order, in a dialect."""

    def __init__(self, order: Order, dialect: str) -> None:
        self._order = order
        self._dialect = dialect
        self._keys = self._sort_keys()

    def clauses(self) -> list[ColumnElement[Any]]:
        """What to order by; absent values come last either way."""
        keys = [*self._keys, _TABLE.c.id]
        return [key.desc() if self._order.descending else key.asc() for key in keys]

    def beyond(self, place: Place) -> ColumnElement[bool]:
        """The extraction comes after the place."""
        here = tuple_(*self._keys, _TABLE.c.id)
        there = tuple_(*self._bound(place), literal(place.id, _TABLE.c.id.type))
        return here < there if self._order.descending else here > there

    def _sort_keys(self) -> list[ColumnElement[Any]]:
        match self._order.by:
            case Field("created"):
                return [_TABLE.c.created_at]
            case Field("changed"):
                return [func.coalesce(_TABLE.c.changed_at, _TABLE.c.created_at, type_=UtcDateTime())]
            case Field():
                number = _TABLE.c.confidence
                return self._ranked(case((number.is_not(None), "number")), number, None)
            case InData(keys):
                return self._at_path(_TABLE.c.data, keys)
            case InMetadata(keys):
                return self._at_path(_TABLE.c.metadata, keys)

    def _at_path(self, document: ColumnElement[Any], keys: Sequence[str]) -> list[ColumnElement[Any]]:
        path = ".".join(orjson.dumps(key).decode() for key in keys)
        kind: ColumnElement[Any]
        number: ColumnElement[Any]
        written: ColumnElement[Any]
        if self._dialect == "postgresql":
            strict = cast(literal(f"strict $.{path}", Text), JSONPATH)
            found = func.jsonb_path_query_first(cast(document, JSONB), strict, text("'{}'"), true())
            kind = func.jsonb_typeof(found)
            written = cast(found.op("#>>")(text("'{}'")), Text)
            number = case((kind == "number", cast(written, Numeric)))
            kind = case((kind == "string", "text"), (kind == "boolean", written), else_=kind)
        else:
            at = literal(f"$.{path}", Text)
            kind = func.json_type(document, at)
            kind = case((kind.in_(["integer", "real"]), "number"), else_=kind)
            written = number = func.json_extract(document, at)
        start = func.substr(written, 1, MOST_SORTED)
        return self._ranked(kind, case((kind == "number", number)), case((kind == "text", start)))

    def _ranked(
        self, kind: ColumnElement[Any], number: ColumnElement[Any], written: ColumnElement[Any] | None
    ) -> list[ColumnElement[Any]]:
        last = _BEFORE_ALL if self._order.descending else _AFTER_ALL
        keys: list[ColumnElement[Any]] = [case(RANKS, value=kind, else_=last), func.coalesce(number, 0)]
        if written is not None:
            texts = func.coalesce(written, "")
            keys.append(texts.collate("C") if self._dialect == "postgresql" else texts)
        return keys

    def _bound(self, place: Place) -> list[ColumnElement[Any]]:
        if place.kind == "time":
            return [literal(datetime.fromisoformat(place.value), UtcDateTime())]
        last = _BEFORE_ALL if self._order.descending else _AFTER_ALL
        rank = literal(RANKS.get(place.kind, last), Integer)
        number = self._number(place.value) if place.kind == "number" else literal(0, Integer)
        written = [literal(place.value if place.kind == "text" else "", Text)]
        return [rank, number, *(written if len(self._keys) > 2 else [])]  # noqa: PLR2004 - rank and number

    def _number(self, value: str) -> ColumnElement[Any]:
        if self._dialect == "postgresql" and len(self._keys) > 2:  # noqa: PLR2004 - of a path
            return literal(Decimal(value), Numeric)
        return (
            literal(float(value), Double)
            if any(sign in value for sign in ".e")
            else literal(int(value), Integer)
        )
