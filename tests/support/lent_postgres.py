"""PostgreSQL databases that tests reuse: emptying one takes a fiftieth of creating one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from app.models import Base
from support.postgres import PostgresServer

_STATE = """
    SELECT count(*), sum(oid::bigint), sum(relfilenode::bigint), sum(pg_relation_size(oid)) > 1000000
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
"""
_TABLES = [table.name for table in reversed(Base.metadata.sorted_tables)]
_DISCONNECT = """
    SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class _Lent(NamedTuple):
    name: str
    url: str
    connection: Connection
    state: tuple[object, ...]
    emptying: str


class Lender:
    """Lends migrated, empty databases of a server.

    A database whose tables were changed or grew large is dropped.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._free: list[_Lent] = []

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Lend a database until the end of the block; return its URL."""
        one = self._free.pop() if self._free else self._make()
        yield one.url
        one.connection.exec_driver_sql(_DISCONNECT)
        if _state(one.connection) == one.state:
            one.connection.exec_driver_sql(one.emptying)
            self._free.append(one)
        else:
            self._drop(one)

    def close(self) -> None:
        """Drop all databases."""
        while self._free:
            self._drop(self._free.pop())

    def _make(self) -> _Lent:
        name, url = self._server.create()
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        emptying = [f"DELETE FROM {table}" for table in [*_TABLES, "alembic_version"]]  # noqa: S608 - our table names
        emptying.append(f"INSERT INTO alembic_version VALUES ('{revision}')")  # noqa: S608 - likewise
        return _Lent(name, url, connection, _state(connection), ";".join(emptying))

    def _drop(self, one: _Lent) -> None:
        one.connection.close()
        self._server.drop(one.name)


def _state(connection: Connection) -> tuple[object, ...]:
    return tuple(connection.exec_driver_sql(_STATE).one())
