"""Insert many rows, and find out which of them are new."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Dialect, Table, Text, bindparam, cast, column, func, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import JSON, NullType, TypeEngine

from app.models import UtcDateTime, UuidText, utc_now
from app.services.storage.repositories.id_lists import among, texts

_DOCUMENT_BYTES = 4 * 2**20
"""The most bytes of rows for a statement, unless one row is larger.

Writing or binding a text holds the GIL: 63 ms for 27 MiB.
"""


Columns = Mapping[str, Sequence[Any]]
"""The values of each column, one for each row."""


def insert_new(
    session: Session, table: Table, columns: Columns, *, held: Collection[UUID] | None = None
) -> set[UUID]:
    """Insert the rows whose ids the table doesn't have, and return their ids.

    ``created_at`` is now unless given. ``held`` are the ids that the table has, if the caller has
    checked. Rows are inserted in order of id: neighbours share pages, and transactions that insert
    the same rows don't deadlock.
    """
    ids = dict(zip(texts(columns["id"]), columns["id"], strict=True))
    if session.get_bind().dialect.name == "postgresql":
        return {ids[text] for text in _insert_new_postgres(session, table, columns)} if ids else set()
    # The write lock is held, so no row can be added between the check and the insert.
    known = set(texts(held)) if held is not None else _held(session, table, ids)
    if new := ids.keys() - known:
        created = {"created_at": [utc_now()] * len(columns["id"])}
        _insert_sqlite(session, table, {**created, **columns}, skip_known=True)
    return {ids[text] for text in new}


def insert_all(session: Session, table: Table, columns: Columns) -> None:
    """Insert rows whose keys the table doesn't have, in their order."""
    if session.get_bind().dialect.name == "postgresql":
        for record in _records(table, columns, zip(*columns.values(), strict=True)):
            session.execute(postgresql.insert(table).from_select(list(columns), select(*record.c)))
    else:
        _insert_sqlite(session, table, columns)


def _held(session: Session, table: Table, ids: Collection[str]) -> set[str]:
    found = select(cast(table.c.id, Text).label("id")).where(among(table.c.id, ids, "sqlite")).subquery()
    return set(orjson.loads(session.scalar(select(func.json_group_array(found.c.id))) or "[]"))


def _insert_sqlite(session: Session, table: Table, columns: Columns, *, skip_known: bool = False) -> None:
    """Insert rows with one statement for each JSON document of rows.

    With a statement for each row, the driver would release the GIL at each and wait to get it
    back: up to 5 ms a row while other threads compute.
    """
    dialect = session.connection().dialect
    values = {name: _bound(table.c[name].type, values, dialect) for name, values in columns.items()}
    shared, own = _split_shared(values)
    rows: Iterable[Any] = zip(*own.values(), strict=True)
    if skip_known:
        rows = sorted(rows, key=itemgetter(list(own).index("id")))
    for document in _documents(rows):
        row = func.json_each(bindparam(None, document, NullType())).table_valued("value").c.value
        fields = [
            *(bindparam(None, value, NullType()) for value in shared.values()),
            *(func.json_extract(row, f"$[{place}]") for place in range(len(own))),
        ]
        statement = sqlite.insert(table).from_select([*shared, *own], select(*fields).where(true()))
        session.execute(statement.on_conflict_do_nothing(index_elements=["id"]) if skip_known else statement)


def _split_shared(values: Mapping[str, list[Any]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Separate the values that all rows share, which are bound once, from the other columns.

    Reading a field from the document costs SQLite 1 µs for each row.
    """
    shared = {
        name: column[0]
        for name, column in values.items()
        if name != "id" and column[0] == column[-1] and column.count(column[0]) == len(column)
    }
    own = {name: column for name, column in values.items() if name not in shared}
    if not own:  # each row of the document needs at least one field
        name = next(iter(shared))
        own = {name: values[name]}
        del shared[name]
    return shared, own


def _insert_new_postgres(session: Session, table: Table, columns: Columns) -> Iterable[str]:
    values = {"created_at": [utc_now()] * len(columns["id"]), **columns, "id": texts(columns["id"])}
    rows = sorted(zip(*values.values(), strict=True), key=itemgetter(list(values).index("id")))
    new: list[str] = []
    for record in _records(table, values, rows):
        statement = (
            postgresql.insert(table).from_select(list(values), select(*record.c)).on_conflict_do_nothing()
        )
        new += session.scalars(statement.returning(cast(table.c.id, Text)))
    return new


def _records(table: Table, columns: Columns, rows: Iterable[Sequence[Any]]) -> Iterator[TableValuedAlias]:
    """The rows for PostgreSQL: a table expression for each JSON document of rows."""
    for document in _documents(dict(zip(columns, row, strict=True)) for row in rows):
        yield (
            func.json_to_recordset(cast(bindparam(None, document, Text), JSON))
            .table_valued(*(column(name, table.c[name].type) for name in columns))
            .render_derived(name="new", with_types=True)
        )


def _documents(rows: Iterable[Any]) -> Iterator[str]:
    """The rows as JSON arrays, each the only parameter of a statement."""
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
    if process is None:
        return list(values)
    if isinstance(type_, UtcDateTime):  # most rows have the same time
        spelled = {moment: process(moment) for moment in set(values)}
        return [spelled[moment] for moment in values]
    return list(map(process, values))
