"""Read extractions for an export, with their JSON as the stored text.

On SQLite all rows come back as one JSON document, as in
:mod:`app.services.storage.repositories.indexable`.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    LargeBinary,
    Select,
    String,
    Text,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy.orm import Session

from app.domain.export import ExportRow, ExportRows
from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.models import Extraction, Source
from app.services.storage.repositories.filtering import passing
from app.services.storage.repositories.indexable import digits_of_confidence, number_of

_TABLE = Extraction.__table__
_SOURCES = Source.__table__
_ORIGINS = _SOURCES.alias("origins")  # a filter may join the sources too
_BEFORE_ALL = UUID(int=0)


def statement_to_export(session: Session, filters: Filters) -> Select[Any]:
    """The statement for :func:`rows_to_export`; reuse it: building it takes as long as 100 rows.

    Raises:
        InvalidInput: a data filter can't be used.
    """
    if session.get_bind().dialect.name == "postgresql":
        return _of_postgres(session, filters)
    return _of_sqlite(session, filters)


def _of_postgres(session: Session, filters: Filters) -> Select[Any]:
    """Read each row once: a window over all rows so far doesn't buffer any.

    The sources are joined below the limit, where the planner knows that it looks up few of them;
    above it, the planner reads all.
    """
    columns = [each.label(name) for name, each in _columns(_TABLE.c.confidence, _ORIGINS).items()]
    chosen = passing(session, filters, *columns, _TABLE.c.id.label("place"))
    found = _next_of(chosen.join_from(_TABLE, _ORIGINS, _TABLE.c.source_id == _ORIGINS.c.id)).subquery("found")
    bytes_ = func.octet_length(found.c.data) + func.coalesce(func.octet_length(found.c.metadata), 0)
    taken = func.sum(bytes_).over(order_by=found.c.place, rows=(None, 0)).label("taken")
    page = select(found, bytes_.label("bytes"), taken).subquery("page")
    exported = [page.c[name] for name in ExportRow._fields]
    return select(*exported, cast(page.c.taken, BigInteger)).where(_fits(page)).order_by(page.c.place)


def _of_sqlite(session: Session, filters: Filters) -> Select[Any]:
    """Read all rows as one JSON document, in any order."""
    # The length of a text would be in characters.
    data, metadata = (func.length(cast(_TABLE.c[name], LargeBinary)) for name in ("data", "metadata"))
    bytes_ = data + func.coalesce(metadata, 0)
    found = _next_of(passing(session, filters, _TABLE.c.id, bytes_.label("bytes"))).subquery("found")
    # The window is only over sizes. Over whole rows, it would buffer all of them.
    taken = func.sum(found.c.bytes).over(order_by=found.c.id, rows=(None, 0))
    page = select(found.c.id, found.c.bytes, taken.label("taken")).cte("page")
    tables = page.join(_TABLE, _TABLE.c.id == page.c.id).join(_SOURCES, _TABLE.c.source_id == _SOURCES.c.id)
    row = func.json_array(*_columns(digits_of_confidence(), _SOURCES).values(), page.c.taken)
    return select(func.json_group_array(row)).select_from(tables).where(_fits(page))


def _next_of(passing: Select[Any]) -> Select[Any]:
    """The next ``limit`` rows by id after ``after``."""
    beyond = passing.where(_TABLE.c.id > bindparam("after", type_=_TABLE.c.id.type))
    return beyond.order_by(_TABLE.c.id).limit(bindparam("limit", type_=Integer))


def _fits(page: FromClause) -> ColumnElement[bool]:
    """Rows up to the one that reaches ``most_bytes``."""
    return page.c.taken - page.c.bytes < bindparam("most_bytes", type_=BigInteger)


def rows_to_export(
    session: Session, statement: Select[Any], *, after: ExtractionId | None, limit: int, most_bytes: int
) -> tuple[ExportRows, int]:
    """The next ``limit`` extractions by id after ``after``, and the bytes of their JSON.

    It stops after the extraction whose JSON reaches ``most_bytes``, so it returns none only at the
    end.
    """
    given = {"after": after or _BEFORE_ALL, "limit": limit, "most_bytes": most_bytes}
    read = session.execute(statement, given)
    if session.get_bind().dialect.name == "postgresql":
        rows: Sequence[Any] = read.all()
        exported = [ExportRow._make(row[:-1]) for row in rows]
    else:
        rows = sorted(orjson.loads(read.scalar_one()))
        exported = [
            ExportRow(id_, uri, group, type_, number_of(digits), metadata, data)
            for id_, uri, group, type_, digits, metadata, data, _ in rows
        ]
    return exported, rows[-1][-1] if rows else 0


def _columns(confidence: ColumnElement[Any], sources: FromClause) -> dict[str, ColumnElement[Any]]:
    """The columns of an :class:`ExportRow`, by name."""
    own = {
        "id": cast(_TABLE.c.id, Text),
        "source_uri": sources.c.uri,
        "source_group": sources.c.source_group,
        "confidence": confidence,
        "metadata": cast(_TABLE.c.metadata, String),
        "data": cast(_TABLE.c.data, String),
    }
    return {name: own[name] if name in own else _TABLE.c[name] for name in ExportRow._fields}
