"""Inserting many rows, and telling which of them were new."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Dialect, Table, Text, bindparam, cast, column, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.types import JSON, TypeEngine

from app.models import UuidText, utc_now
from app.services.storage.repositories.id_lists import among, texts


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
    """The write lock is held, so no row can come between looking and inserting.

    Goes to the driver, because SQLAlchemy's handling of each parameter takes as long as the insertion.
    """
    connection = session.connection()
    dialect = connection.dialect
    query = select(cast(table.c.id, Text)).where(among(table.c.id, columns["id"], "sqlite"))
    held = set(session.scalars(query))
    values = {name: _bound(table.c[name].type, values, dialect) for name, values in columns.items()}
    values["created_at"] = _bound(table.c.created_at.type, [utc_now()], dialect) * len(columns["id"])
    statement = sqlite.insert(table).on_conflict_do_nothing(index_elements=[table.c.id])
    compiled = statement.compile(dialect=dialect, column_keys=list(values))
    order = compiled.positiontup or []
    rows = sorted(zip(*(values[name] for name in order), strict=True), key=itemgetter(order.index("id")))
    connection.exec_driver_sql(str(compiled), rows)
    return set(values["id"]) - held


def _insert_postgres(session: Session, table: Table, columns: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    """One statement with one parameter: the rows as JSON."""
    values = {**columns, "id": texts(columns["id"])}
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    document = orjson.dumps(sorted(rows, key=itemgetter("id"))).decode()
    record = (
        func.json_to_recordset(cast(bindparam(None, document, Text), JSON))
        .table_valued(*(column(name, table.c[name].type) for name in columns))
        .render_derived(name="new", with_types=True)
    )
    created = bindparam(None, utc_now(), table.c.created_at.type)
    statement = (
        postgresql.insert(table)
        .from_select([*columns, "created_at"], select(*record.c, created))
        .on_conflict_do_nothing()
        .returning(cast(table.c.id, Text))
    )
    return session.scalars(statement)


def _bound(type_: TypeEngine[Any], values: Sequence[Any], dialect: Dialect) -> list[Any]:
    if isinstance(type_, UuidText):
        return texts(values)
    process = type_.dialect_impl(dialect).bind_processor(dialect)
    return list(values) if process is None else list(map(process, values))
