"""Read the parts of extractions that are needed to index them.

On SQLite all rows come back as one JSON document. With separate rows, the driver would release
the GIL at each and wait up to 5 ms to get it back while other threads embed and upsert: seconds for
a thousand rows.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Select, String, Text, bindparam, case, cast, func, null, select, text
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from app.models import ORPHANED, Extraction, Source
from app.services.storage.repositories.filtering import WITH_SOURCES
from app.services.storage.repositories.id_lists import Ids, among_bound, bound, texts
from app.services.storage.repositories.page_sizes import rows_that_fit

_TABLE = Extraction.__table__
_SOURCES = Source.__table__
_FIRST_ROWS = 16


_LABELS = (
    cast(_TABLE.c.id, Text),
    cast(_TABLE.c.project_id, Text),
    _SOURCES.c.source_group,
    _TABLE.c.extraction_type,
)


class LabelsRow(NamedTuple):
    """The parts of a point's payload; ids are text, as Qdrant needs them."""

    id: str
    project_id: str
    source_group: str | None
    extraction_type: str
    confidence: float | None


class WaitingRow(NamedTuple):
    """The parts of an extraction needed to index it; ids are text, as Qdrant needs them."""

    id: str
    project_id: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    data: dict[str, Any]


def iter_waiting(session: Session, ids: Ids, *, include_marked: bool = False) -> Iterator[WaitingRow]:
    """The orphans among ``ids`` that aren't set aside, in any order.

    ``include_marked`` adds the rows that are marked as indexed. The rows are read in pages of about
    8 MB: an extraction may have 4 MB, and the caller keeps only its text.
    """
    find = _find_on_postgres if session.get_bind().dialect.name == "postgresql" else _find_on_sqlite
    given = texts(ids)
    start, size = 0, _FIRST_ROWS
    while start < len(given):
        some = given[start : start + size]
        rows, taken_bytes = find(session, some, include_marked=include_marked)
        yield from rows
        start += size
        size = rows_that_fit(len(some), taken_bytes)


def labels_of(session: Session, ids: Ids) -> list[LabelsRow]:
    """The labels of the rows with these ids, in any order; one statement."""
    if session.get_bind().dialect.name == "postgresql":
        rows = session.execute(_labels_on_postgres(), {"ids": bound(ids, "postgresql")})
        return [LabelsRow(*row) for row in rows]
    document = session.scalar(_labels_on_sqlite(), {"ids": bound(ids, "sqlite")}) or "[]"
    return [LabelsRow._make((*row[:4], number_of(row[4]))) for row in orjson.loads(document)]


def _find_on_postgres(session: Session, ids: Ids, *, include_marked: bool) -> tuple[list[WaitingRow], int]:
    rows = [
        WaitingRow(*row)
        for row in session.execute(_on_postgres(include_marked), {"ids": bound(ids, "postgresql")})
    ]
    return rows, len(orjson.dumps([row.data for row in rows]))


def _find_on_sqlite(session: Session, ids: Ids, *, include_marked: bool) -> tuple[list[WaitingRow], int]:
    document = session.scalar(_on_sqlite(include_marked), {"ids": bound(ids, "sqlite")}) or "[]"
    rows = [WaitingRow._make((*row[:4], number_of(row[4]), row[5])) for row in orjson.loads(document)]
    return rows, len(document)


def number_of(digits: str | None) -> float | None:
    """Read a number written by :func:`digits_of_confidence`."""
    return None if digits is None else float(digits)


@cache
def _labels_on_postgres() -> Select[Any]:
    return _among_ids("postgresql", *_LABELS, _TABLE.c.confidence)


@cache
def _labels_on_sqlite() -> Select[Any]:
    return _among_ids("sqlite", func.json_group_array(func.json_array(*_LABELS, digits_of_confidence())))


@cache
def _on_postgres(include_marked: bool) -> Select[Any]:
    return _of("postgresql", include_marked, *_LABELS, _TABLE.c.confidence, _TABLE.c.data)


@cache
def _on_sqlite(include_marked: bool) -> Select[Any]:
    row = func.json_array(*_LABELS, digits_of_confidence(), func.json(cast(_TABLE.c.data, String)))
    return _of("sqlite", include_marked, func.json_group_array(row))


def _of(dialect: str, include_marked: bool, *columns: ColumnElement[Any]) -> Select[Any]:
    return _among_ids(dialect, *columns).where(text("set_aside_reason IS NULL" if include_marked else ORPHANED))


def _among_ids(dialect: str, *columns: ColumnElement[Any]) -> Select[Any]:
    wanted = among_bound(_TABLE.c.id, bindparam("ids", type_=NullType()), dialect)
    return select(*columns).select_from(WITH_SOURCES).where(wanted)


def digits_of_confidence() -> ColumnElement[Any]:
    """The confidence as text, for JSON that SQLite makes; :func:`number_of` reads it.

    SQLite's JSON writes a number with 15 digits, but a float needs 17.
    """
    return case((_TABLE.c.confidence.is_(None), null()), else_=func.printf("%!.17g", _TABLE.c.confidence))
