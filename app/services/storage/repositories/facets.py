"""Count extractions by their values of a field or at a path."""

import math
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import (
    CTE,
    ColumnElement,
    Label,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.orm import Session

from app.domain.conditions import Field, InData, InMetadata, Path
from app.domain.field_paths import require_plain
from app.domain.fields import Facet, FacetValue, Numbers
from app.domain.filters import Filters
from app.errors import InvalidField
from app.models import Extraction, Source
from app.services.storage.repositories.filtering import passing

_TABLE = Extraction.__table__
_SOURCES = Source.__table__
_MOST_KEYS = 16
_DECILES = range(1, 10)
_INT64 = 2**63

DAY = "day"
"""The day on which an extraction was stored, in UTC."""

FIELDS = ("type", "group", "source", "run", DAY)


class FacetRepository:
    """Works on a session, in its transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def facet(self, filters: Filters, total: int, by: str, path: Path | None, limit: int) -> Facet:
        """Count the ``total`` extractions that pass the filters by a path, or by day if it is None.

        Raises:
            InvalidField: extractions can't be counted by that path.
        """
        chosen = passing(self._session, filters, *_TABLE.c, whole=True).cte("chosen")
        each = self._each(chosen, path).distinct().cte("each_value")
        count = func.count()
        counted = (
            select(each.c.kind, each.c.value, each.c.number, count, func.sum(count).over(), func.count().over())
            .where(each.c.kind != "object")
            .group_by(each.c.kind, each.c.value, each.c.number)
            .order_by(count.desc(), each.c.kind, each.c.number, self._by_code_point(each.c.value))
            .limit(limit)
        )
        rows = self._session.execute(counted).all()
        having, objects, *numbers = self._session.execute(
            select(
                func.count(each.c.id.distinct()),
                func.count(case((each.c.kind == "object", each.c.id)).distinct()),
                func.count(each.c.number),
                func.min(each.c.number),
                func.max(each.c.number),
                func.avg(each.c.number),
            )
        ).one()
        shown = sum(row[3] for row in rows)
        return Facet(
            by,
            [FacetValue(_value(*row[:3]), row[3]) for row in rows],
            rest_values=rows[0][5] - len(rows) if rows else 0,
            rest=int(rows[0][4]) - shown if rows else 0,
            missing=total - having,
            objects=objects,
            numbers=self._numbers(each, *numbers) if numbers[0] else None,
        )

    def _numbers(self, each: CTE, count: int, least: float, most: float, mean: float) -> Numbers:
        places = [math.ceil(count * tenth / 10) for tenth in _DECILES]
        place = func.row_number().over(order_by=each.c.number)
        ordered = select(each.c.number, place.label("place")).where(each.c.number.is_not(None)).subquery()
        at = select(ordered.c.place, ordered.c.number).where(ordered.c.place.in_(set(places)))
        found = {row[0]: float(row[1]) for row in self._session.execute(at)}
        return Numbers(count, float(least), float(most), float(mean), [found[place] for place in places])

    def _each(self, chosen: CTE, path: Path | None) -> Select[Any]:
        """A row for each value of each extraction: id, kind, value as text, and number."""
        match path:
            case None:
                return _of_texts(chosen.c.id, self._day(chosen.c.created_at)).select_from(chosen)
            case Field("type"):
                return _of_texts(chosen.c.id, chosen.c.extraction_type).select_from(chosen)
            case Field("group" | "source" as name):
                value = _SOURCES.c.source_group if name == "group" else _SOURCES.c.uri
                of_sources = chosen.join(_SOURCES, _SOURCES.c.id == chosen.c.source_id)
                return _of_texts(chosen.c.id, value).select_from(of_sources).where(value.is_not(None))
            case Field("run"):
                runs = union_all(
                    *(
                        select(chosen.c.id, cast(run, Text).label("run")).where(run.is_not(None))
                        for run in (chosen.c.first_run_id, chosen.c.last_run_id)
                    )
                ).subquery()
                return _of_texts(runs.c.id, runs.c.run)
            case InData(keys) | InMetadata(keys):
                document = chosen.c.data if isinstance(path, InData) else chosen.c.metadata
                return (self._on_postgres if self._dialect == "postgresql" else self._on_sqlite)(
                    chosen, document, keys
                )
        raise InvalidField(
            "by", f"facts can't be counted by {path.name}, only by {', '.join(FIELDS)} and by paths"
        )

    def _day(self, moment: ColumnElement[Any]) -> ColumnElement[str]:
        if self._dialect == "postgresql":
            return func.to_char(func.timezone("UTC", moment), "YYYY-MM-DD")
        return func.substr(cast(moment, Text), 1, 10)

    def _by_code_point(self, value: ColumnElement[str]) -> ColumnElement[str]:
        return value.collate("C") if self._dialect == "postgresql" else value

    @staticmethod
    def _on_postgres(chosen: CTE, document: ColumnElement[Any], keys: Sequence[str]) -> Select[Any]:
        path = ".".join(["lax $", *(orjson.dumps(key).decode() for key in keys)]) + "[*]"
        values = text(
            f"LATERAL jsonb_path_query(CAST({document} AS jsonb), CAST(:path AS jsonpath), '{{}}', TRUE) AS found(value)"
        ).bindparams(bindparam("path", path, Text))
        kind: ColumnElement[str] = literal_column("jsonb_typeof(found.value)", Text)
        written: ColumnElement[str] = literal_column("found.value #>> '{}'", Text)
        number: ColumnElement[Any] = case((kind == "number", literal_column("(found.value #>> '{}')::numeric")))
        return select(
            chosen.c.id,
            _kind(kind),
            case(
                (kind == "number", cast(func.trim_scale(number), Text)),
                (kind.in_(["object", "array"]), literal("")),
                (kind == "null", literal("null")),
                else_=written,
            ).label("value"),
            number.label("number"),
        ).select_from(chosen, values)

    @staticmethod
    def _on_sqlite(chosen: CTE, document: ColumnElement[Any], keys: Sequence[str]) -> Select[Any]:
        """Join a table for each step; its rows are the values there, or an array's elements."""
        steps, found = list[Any](), str(document)
        for step, key in enumerate(keys):
            at = text(
                f"json_each(CASE json_type({found}, :path{step}) WHEN 'array' THEN {found} -> :path{step} "
                f"ELSE coalesce('[' || ({found} -> :path{step}) || ']', '[]') END) AS step{step}"
            ).bindparams(bindparam(f"path{step}", f"$.{orjson.dumps(key).decode()}", Text))
            steps.append(at)
            found = f"CASE step{step}.type WHEN 'object' THEN step{step}.value END"
        last = f"step{len(keys) - 1}"
        type_ = literal_column(f"{last}.type", Text)
        is_number = type_.in_(["integer", "real"])
        kind: ColumnElement[str] = case(
            (is_number, "number"), (type_.in_(["true", "false"]), "boolean"), else_=type_
        )
        number = case((is_number, literal_column(f"{last}.value")))
        return select(
            chosen.c.id,
            _kind(kind),
            case(
                (is_number, literal("")),
                (type_.in_(["object", "array"]), literal("")),
                (type_.in_(["true", "false", "null"]), type_),
                else_=literal_column(f"{last}.value", Text),
            ).label("value"),
            number.label("number"),
        ).select_from(chosen, *steps)


def countable(path: Path | None) -> Path | None:
    """The path, if extractions can be counted by it.

    Raises:
        InvalidField: it is too long, or has a key that SQLite's paths can't express.
    """
    if isinstance(path, InData | InMetadata):
        if len(path.keys) > _MOST_KEYS:
            raise InvalidField("by", f"has a path of {len(path.keys)} keys; it may have up to {_MOST_KEYS}")
        require_plain(path.keys, "by")
    elif isinstance(path, Field) and path.name not in FIELDS:
        raise InvalidField(
            "by", f"facts can't be counted by {path.name}, only by {', '.join(FIELDS)} and by paths"
        )
    return path


def _of_texts(id_: ColumnElement[Any], value: ColumnElement[Any]) -> Select[Any]:
    return select(
        id_.label("id"),
        literal("string").label("kind"),
        cast(value, Text).label("value"),
        literal_column("CAST(NULL AS NUMERIC)").label("number"),
    )


def _kind(kind: ColumnElement[str]) -> Label[str]:
    """The kind of a scalar; arrays and objects are both "object"."""
    return case((kind.in_(["object", "array"]), "object"), (kind == "text", "string"), else_=kind).label("kind")


def _value(kind: str, value: str, number: Any) -> Any:  # noqa: ANN401 - any JSON scalar
    match kind:
        case "number":
            return int(number) if number == int(number) and abs(number) < _INT64 else float(number)
        case "boolean":
            return value == "true"
        case "null":
            return None
    return value
