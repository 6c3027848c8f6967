"""Inserting many rows, and telling which of them were new."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Dialect, Table, Text, bindparam, cast, column, func, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.types import JSON, NullType, TypeEngine

from app.models import UuidText, utc_now
from app.services.storage.repositories.id_lists import among, texts

_DOCUMENT_BYTES = 4 * 2**20
"""A statement takes rows up to this size together, or one row. Whoever writes or binds a longer text holds Python's lock
for as long: 63 ms for 27 MiB."""


def insert_new(session: Session, table: Table, columns: Mapping[str, Sequence[Any]]) -> set[UUID]:
    """Insert the rows whose id the table doesn't hold yet, created now; return their ids.

    ``columns`` maps each column to its values, one a row. Rows go in by order of id: neighbours share pages,
    and two transactions that insert the same rows don't deadlock.
    """
    if not columns["id"]:
        return set()
    ids = dict(zip(texts(columns["id"]), columns["id"], strict=True))
    insert = _insert_postgres if session.get_bind().dialect.name == "postgresql" else _insert_sqlite
    return {ids[text] for text in insert(session, table, columns)}


def _insert_sqlite(session: Session, table: Table, columns: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    """A statement for each document of rows.

    Row by row, the driver would give up Python's lock and wait for it again at each one: up to 5 ms a row while
    other threads compute. The write lock is held, so no row can come between looking and inserting.
    """
    dialect = session.connection().dialect
    held = (
        select(cast(table.c.id, Text).label("id")).where(among(table.c.id, columns["id"], "sqlite")).subquery()
    )
    old = set(orjson.loads(session.scalar(select(func.json_group_array(held.c.id))) or "[]"))
    values = {name: _bound(table.c[name].type, values, dialect) for name, values in columns.items()}
    values["created_at"] = [f"{utc_now():%Y-%m-%d %H:%M:%S.%f}"] * len(columns["id"])
    rows = sorted(zip(*values.values(), strict=True), key=itemgetter(list(values).index("id")))
    for document in _documents(rows):
        row = func.json_each(bindparam(None, document, NullType())).table_valued("value").c.value
        fields = [func.json_extract(row, f"$[{place}]") for place in range(len(values))]
        statement = sqlite.insert(table).from_select(list(values), select(*fields).where(true()))
        session.execute(statement.on_conflict_do_nothing(index_elements=[table.c.id]))
    return set(values["id"]) - old


def _insert_postgres(session: Session, table: Table, columns: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    """A statement for each document of rows."""
    values = {**columns, "id": texts(columns["id"])}
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    created = bindparam(None, utc_now(), table.c.created_at.type)
    new: list[str] = []
    for document in _documents(sorted(rows, key=itemgetter("id"))):
        record = (
            func.json_to_recordset(cast(bindparam(None, document, Text), JSON))
            .table_valued(*(column(name, table.c[name].type) for name in columns))
            .render_derived(name="new", with_types=True)
        )
        statement = (
            postgresql.insert(table)
            .from_select([*columns, "created_at"], select(*record.c, created))
            .on_conflict_do_nothing()
            .returning(cast(table.c.id, Text))
        )
        new += session.scalars(statement)
    return new


def _documents(rows: Iterable[Any]) -> Iterator[str]:
    """The rows as JSON arrays, each the one parameter of a statement."""
    pieces: list[bytes] = []
    size = 0
    for row in rows:
        piece = orjson.dumps(row)
        if pieces and size + len(piece) > _DOCUMENT_BYTES:
            yield _array_of(pieces)
            pieces, size = [], 0
        pieces.append(piece)
        size += len(piece)
    yield _array_of(pieces)


def _array_of(pieces: Iterable[bytes]) -> str:
    return f"[{b','.join(pieces).decode()}]"


def _bound(type_: TypeEngine[Any], values: Sequence[Any], dialect: Dialect) -> list[Any]:
    if isinstance(type_, UuidText):
        return texts(values)
    process = type_.dialect_impl(dialect).bind_processor(dialect)
    return list(values) if process is None else list(map(process, values))
