"""Reading extractions to hand them out, with their JSON as the text that is stored.

On SQLite all rows come back as one JSON document, as in :mod:`app.services.storage.repositories.indexable`.
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
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.indexable import digits_of_confidence, number_of

_TABLE = Extraction.__table__
_SOURCES = Source.__table__
_ORIGINS = _SOURCES.alias("origins")  # a filter may join the sources too
_BEFORE_ALL = UUID(int=0)


def statement_to_export(session: Session, filters: Filters) -> Select[Any]:
    """What :func:`rows_to_export` runs, any number of times: building it takes as long as a hundred rows.

    Raises:
        InvalidInput: a data filter can't be used.
    """
    extractions = ExtractionRepository(session)
    if session.get_bind().dialect.name == "postgresql":
        return _of_postgres(extractions, filters)
    return _of_sqlite(extractions, filters)


def _of_postgres(extractions: ExtractionRepository, filters: Filters) -> Select[Any]:
    """Reads each row once. A window in the frame of all rows so far keeps none of them.

    The sources are joined below the limit, where the planner knows that few are looked up; above
    it, it reads all.
    """
    columns = [each.label(name) for name, each in _columns(_TABLE.c.confidence, _ORIGINS).items()]
    passing = extractions.passing(filters, *columns, _TABLE.c.id.label("place"))
    found = _next_of(passing.join_from(_TABLE, _ORIGINS, _TABLE.c.source_id == _ORIGINS.c.id)).subquery("found")
    bytes_ = func.octet_length(found.c.data) + func.coalesce(func.octet_length(found.c.metadata), 0)
    taken = func.sum(bytes_).over(order_by=found.c.place, rows=(None, 0)).label("taken")
    page = select(found, bytes_.label("bytes"), taken).subquery("page")
    exported = [page.c[name] for name in ExportRow._fields]
    return select(*exported, cast(page.c.taken, BigInteger)).where(_fits(page)).order_by(page.c.place)


def _of_sqlite(extractions: ExtractionRepository, filters: Filters) -> Select[Any]:
    """All rows as one JSON document, in no order."""
    # The length of a text is told in characters.
    data, metadata = (func.length(cast(_TABLE.c[name], LargeBinary)) for name in ("data", "metadata"))
    bytes_ = data + func.coalesce(metadata, 0)
    found = _next_of(extractions.passing(filters, _TABLE.c.id, bytes_.label("bytes"))).subquery("found")
    # The window is over sizes alone. Over whole rows it would hold all of them, however large they
    # are.
    taken = func.sum(found.c.bytes).over(order_by=found.c.id, rows=(None, 0))
    page = select(found.c.id, found.c.bytes, taken.label("taken")).cte("page")
    tables = page.join(_TABLE, _TABLE.c.id == page.c.id).join(_SOURCES, _TABLE.c.source_id == _SOURCES.c.id)
    row = func.json_array(*_columns(digits_of_confidence(), _SOURCES).values(), page.c.taken)
    return select(func.json_group_array(row)).select_from(tables).where(_fits(page))


def _next_of(passing: Select[Any]) -> Select[Any]:
    """The ``limit`` next by id after ``after``."""
    beyond = passing.where(_TABLE.c.id > bindparam("after", type_=_TABLE.c.id.type))
    return beyond.order_by(_TABLE.c.id).limit(bindparam("limit", type_=Integer))


def _fits(page: FromClause) -> ColumnElement[bool]:
    """Up to the row with which ``most_bytes`` are taken."""
    return page.c.taken - page.c.bytes < bindparam("most_bytes", type_=BigInteger)


def rows_to_export(
    session: Session, statement: Select[Any], *, after: ExtractionId | None, limit: int, most_bytes: int
) -> tuple[ExportRows, int]:
    """The extractions of a :func:`statement_to_export`, by id: the ``limit`` next after ``after``; and how long their JSON is.

    It stops after the one with which their JSON takes ``most_bytes``, and so finds none at the end
    alone.
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
    """Those of :class:`ExportRow`, by name."""
    own = {
        "id": cast(_TABLE.c.id, Text),
        "source_uri": sources.c.uri,
        "source_group": sources.c.source_group,
        "confidence": confidence,
        "metadata": cast(_TABLE.c.metadata, String),
        "data": cast(_TABLE.c.data, String),
    }
    return {name: own[name] if name in own else _TABLE.c[name] for name in ExportRow._fields}
