"""Inspection of a database of any revision, by its tables only, without the models."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Index, Inspector, Table, inspect, text

from app.models import OF_DIALECT, WORDS_INDEX, Base

COUNTED = ("projects", "sources", "extractions", "jobs")


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of a database.

    ``revision`` is None if it was never migrated, ``store_id`` if it never had an index.
    """

    revision: str | None
    store_id: str | None
    counts: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is stored."""
        return not any(self.counts.values())


def read_contents(connection: Connection) -> Contents:
    """Count the rows; a missing table counts as empty."""
    tables = set(inspect(connection).get_table_names())
    return Contents(
        _find(connection, tables, "alembic_version", "version_num"),
        _find(connection, tables, "store_identity", "store_id"),
        {name: _count(connection, name) if name in tables else 0 for name in COUNTED},
    )


def missing_parts(connection: Connection) -> list[str]:
    """List the tables, columns, keys and indexes of this version's schema that are missing."""
    return list(_missing(inspect(connection)))


def _find(connection: Connection, tables: set[str], table: str, column: str) -> str | None:
    if table not in tables:
        return None
    found = connection.scalar(text(f"SELECT {column} FROM {table}"))  # noqa: S608 - constant names
    return None if found is None else str(found)


def _count(connection: Connection, table: str) -> int:
    count: int = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608 - COUNTED
    return count


def _missing(inspector: Inspector) -> Iterator[str]:
    tables = set(inspector.get_table_names())
    dialect = inspector.dialect.name
    if dialect == "sqlite" and WORDS_INDEX not in tables:
        yield f"table {WORDS_INDEX}"
    for table in Base.metadata.sorted_tables:
        if table.name not in tables:
            yield f"table {table.name}"
            continue
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        yield from (f"column {table.name}.{each.name}" for each in table.columns if each.name not in columns)
        if not inspector.get_pk_constraint(table.name)["constrained_columns"]:
            yield f"primary key of {table.name}"
        indexes = {index["name"] for index in inspector.get_indexes(table.name)}
        yield from (f"index {index.name}" for index in _of_dialect(table, dialect) if index.name not in indexes)
        keys = {tuple(key["constrained_columns"]) for key in inspector.get_foreign_keys(table.name)}
        for key in table.foreign_key_constraints:
            if tuple(key.column_keys) not in keys:
                yield f"foreign key {table.name}.{', '.join(key.column_keys)}"


def _of_dialect(table: Table, dialect: str) -> Iterator[Index]:
    return (index for index in table.indexes if index.info.get(OF_DIALECT, dialect) == dialect)
