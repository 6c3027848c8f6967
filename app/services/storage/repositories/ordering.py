"""Orders of extractions in SQL: the sort keys, and the rows after a place."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Integer,
    Label,
    Numeric,
    Select,
    Text,
    case,
    cast,
    func,
    literal,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from app.domain.conditions import Field, InData, InMetadata
from app.domain.ordering import MOST_SORTED, RANKS, Order, Place
from app.models import Extraction, UtcDateTime

_TABLE = Extraction.__table__


class Ordering:
    """An order of extractions, in a dialect's SQL."""

    def __init__(self, order: Order, dialect: str) -> None:
        self._order = order
        self._on_postgres = dialect == "postgresql"
        self._last = -1 if order.descending else len(RANKS)  # absent values come last in both directions

    def columns(self) -> list[ColumnElement[Any]]:
        """The columns of extractions that :meth:`ids` needs."""
        return [_TABLE.c.id, *self._values()]

    def ids(self, chosen: Select[Any], after: Place | None, limit: int) -> Select[Any]:
        """The ids of the extractions in ``chosen`` that come next after a place."""
        rows: FromClause = chosen.subquery("chosen")
        if self._on_postgres and not isinstance(self._order.by, Field):
            # Otherwise PostgreSQL would extract the value from its document for each key.
            rows = chosen.cte("chosen").prefix_with("MATERIALIZED")
        keys = [*self._keys(rows), rows.c.id]
        query = select(rows.c.id).order_by(*(key.desc() if self._order.descending else key for key in keys))
        if after is not None:
            here = tuple_(*keys)
            there = tuple_(*self._bound(after), literal(after.id, _TABLE.c.id.type))
            query = query.where(here < there if self._order.descending else here > there)
        return query.limit(limit)

    def _values(self) -> list[Label[Any]]:
        match self._order.by:
            case Field("created"):
                return [_TABLE.c.created_at.label("value")]
            case Field("changed"):
                changed = func.coalesce(_TABLE.c.changed_at, _TABLE.c.created_at, type_=UtcDateTime())
                return [changed.label("value")]
            case Field():
                return [_TABLE.c.confidence.label("value")]
            case InData(keys):
                return self._at_path(_TABLE.c.data, keys)
            case InMetadata(keys):
                return self._at_path(_TABLE.c.metadata, keys)

    def _at_path(self, document: ColumnElement[Any], keys: Sequence[str]) -> list[Label[Any]]:
        path = ".".join(orjson.dumps(key).decode() for key in keys)
        if self._on_postgres:
            strict = cast(literal(f"strict $.{path}", Text), JSONPATH)
            found = func.jsonb_path_query_first(cast(document, JSONB), strict, text("'{}'"), true())
            return [found.label("value")]
        at = literal(f"$.{path}", Text)
        return [func.json_type(document, at).label("kind"), func.json_extract(document, at).label("value")]

    def _keys(self, rows: FromClause) -> list[ColumnElement[Any]]:
        value: ColumnElement[Any] = rows.c.value
        match self._order.by:
            case Field("created" | "changed"):
                return [value]
            case Field():
                return [case((value.is_(None), self._last), else_=RANKS["number"]), func.coalesce(value, 0)]
        kind: ColumnElement[Any]
        number = written = value
        if self._on_postgres:
            kind = func.jsonb_typeof(value)
            written = cast(value.op("#>>")(text("'{}'")), Text)
            number = cast(written, Numeric)
            kind = case(
                (kind == "string", "text"), (kind == "boolean", written), (kind == "number", "number"), else_=""
            )
        else:
            kind = case((rows.c.kind.in_(["integer", "real"]), "number"), else_=rows.c.kind)
        texts = func.coalesce(case((kind == "text", func.substr(written, 1, MOST_SORTED))), "")
        return [
            case(RANKS, value=kind, else_=self._last),
            func.coalesce(case((kind == "number", number)), 0),
            texts.collate("C") if self._on_postgres else texts,
        ]

    def _bound(self, place: Place) -> list[ColumnElement[Any]]:
        if place.kind == "time":
            return [literal(datetime.fromisoformat(place.value), UtcDateTime())]
        of_path = not isinstance(self._order.by, Field)
        rank = literal(RANKS.get(place.kind, self._last), Integer)
        number = self._number(place.value if place.kind == "number" else "0", exact=of_path)
        written = literal(place.value if place.kind == "text" else "", Text)
        return [rank, number, written] if of_path else [rank, number]

    def _number(self, value: str, *, exact: bool) -> ColumnElement[Any]:
        if exact and self._on_postgres:
            return literal(Decimal(value), Numeric)
        return (
            literal(float(value), Double)
            if any(sign in value for sign in ".e")
            else literal(int(value), Integer)
        )
