"""The pooled engine, and one transaction a thread hop.

A *work* is a function over a session. ``Database.read`` and ``Database.write`` run it on a thread of the
database lane, in one transaction of its own.
"""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection, QueuePool, StaticPool

from app.database_errors import translated_errors
from app.errors import DatabaseError
from app.executor import Lane
from app.postgres import TimeLimits, connect_args, set_up

T = TypeVar("T")

LOCK_TIMEOUT_S = 30.0
"""How long SQLite waits for another process's write transaction."""

_ACCESS = "agent_storage_access"
_READING: dict[str, dict[str, Any]] = {
    "sqlite": {_ACCESS: "read"},
    "postgresql": {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"},
}
_SQLITE_BEGIN = {
    "read": ("PRAGMA query_only = ON", "BEGIN"),
    "write": ("PRAGMA query_only = OFF", "BEGIN IMMEDIATE"),
    None: ("PRAGMA query_only = OFF", "BEGIN"),
}
_SQLITE_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    # Ids are random, so a batch touches pages all over the indexes: keep them, and copy them back less often.
    "cache_size = -32000",
    "wal_autocheckpoint = 4000",
)


def open_engine(  # noqa: PLR0913 - each is a setting
    url: str,
    *,
    pool_size: int,
    max_overflow: int,
    pool_timeout_s: float,
    pool_recycle_s: float,
    limits: TimeLimits | None = None,
    prepared_statements: bool = True,
) -> Engine:
    """An engine for ``url``; connects to nothing yet. The caller owns it and calls ``dispose()``.

    Makes the folder of a SQLite file. A database in memory gets one connection, shared by all threads, which
    the pool's sizes don't apply to. ``limits`` and ``prepared_statements`` are for PostgreSQL; without the latter,
    nothing rests on what a connection remembers from one transaction to the next.
    """
    parsed = make_url(url)
    pool: dict[str, Any] = {
        "poolclass": CountingPool,
        "pool_size": pool_size,
        "max_overflow": max_overflow,
        "pool_timeout": pool_timeout_s,
        "pool_recycle": pool_recycle_s,
        "pool_pre_ping": True,
    }
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, {"poolclass": StaticPool} if _is_in_memory(parsed) else pool)
    engine = _create(parsed, connect_args(parsed, prepared_statements=prepared_statements), pool)
    set_up(engine, limits or TimeLimits(), sessions=prepared_statements)
    return engine


class CountingPool(QueuePool):
    """A pool that counts in ``waits`` how often a connection was asked for while all were in use.

    Who asks in the very moment in which another takes the last one may be missed.
    """

    # SQLAlchemy names the pool's logger after the class: what a library tells is no message of ours.
    __module__ = QueuePool.__module__

    def __init__(
        self,
        creator: Callable[[], Any],
        pool_size: int = 5,
        max_overflow: int = 10,
        **options: Any,  # noqa: ANN401 - as QueuePool's
    ) -> None:
        super().__init__(creator, pool_size=pool_size, max_overflow=max_overflow, **options)
        self.waits = 0
        self._connections = pool_size + max_overflow
        self._counting = threading.Lock()

    def connect(self) -> PoolProxiedConnection:
        """A connection, which the caller closes; waits for one where it has to."""
        if self.checkedout() >= self._connections:
            with self._counting:
                self.waits += 1
        return super().connect()


class ReadSession(Session):
    """A session that can't write: it refuses to flush, and its transaction is read-only in the database.

    All it reads is as it was at its first statement.
    """

    def __init__(self, engine: Engine) -> None:
        reading = engine.execution_options(**_READING[engine.dialect.name])
        super().__init__(reading, autoflush=False, expire_on_commit=False)

    def flush(self, objects: Sequence[object] | None = None) -> None:
        """Refuse if there is anything to write."""
        if self.new or self.dirty or self.deleted:
            raise RuntimeError("objects were changed in a read-only session; use Database.write")
        super().flush(objects)


class WriteSession(Session):
    """A session that writes: on SQLite its transaction takes the write lock at its first statement."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.execution_options(**{_ACCESS: "write"}), expire_on_commit=False)


class Database:
    """Runs works on the database lane. Thread-safe, and usable from any event loop."""

    def __init__(self, engine: Engine, lane: Lane) -> None:
        self.engine = engine
        self._lane = lane
        # SQLite's own waiting for the write lock polls, up to 100 ms a time; this queue doesn't.
        self._writers: AbstractContextManager[Any] = (
            threading.Lock() if self.dialect == "sqlite" else nullcontext()
        )

    @property
    def dialect(self) -> str:
        """The dialect's name: ``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    async def read(self, work: Callable[[ReadSession], T], *, timeout_s: float | None = None) -> T:
        """Run ``work`` over one consistent view of the data and return its result.

        Raises:
            DatabaseUnavailable: the database can't be reached.
            DatabaseError: it refused a statement.
            Saturated, DeadlineExceeded, ShuttingDown: from the lane; ``timeout_s`` counts from now.
        """
        return await self._lane.run(self._read, work, timeout_s=timeout_s)

    async def write(
        self, work: Callable[[WriteSession], T], *, timeout_s: float | None = None, begun: bool = False
    ) -> T:
        """Run ``work``, commit, and return its result; roll back if it raises anything.

        ``begun`` is for :meth:`Lane.run`. After DeadlineExceeded the work may still commit. Raises what
        :meth:`read` raises.
        """
        return await self._lane.run(self._write, work, timeout_s=timeout_s, begun=begun)

    async def ping(self) -> None:
        """Ask the database for a 1.

        Raises:
            DatabaseUnavailable: it can't be reached.
        """
        await self.read(lambda session: session.execute(text("SELECT 1")))

    def _read(self, work: Callable[[ReadSession], T]) -> T:
        with translated_errors(self.engine), ReadSession(self.engine) as session:
            result = work(session)
            session.flush()
            return result

    def _write(self, work: Callable[[WriteSession], T]) -> T:
        with (
            translated_errors(self.engine),
            self._writers,
            WriteSession(self.engine) as session,
            session.begin(),
        ):
            return work(session)


def begin_write(engine: Engine) -> AbstractContextManager[Connection]:
    """A connection in a write transaction, committed at the end, for synchronous code without a session."""
    return engine.execution_options(**{_ACCESS: "write"}).begin()


def _is_in_memory(url: URL) -> bool:
    name = url.database or ":memory:"
    return ":memory:" in name or "mode=memory" in name or url.query.get("mode") == "memory"


def _create(url: URL, connect_args: dict[str, Any], pool: dict[str, Any]) -> Engine:
    return create_engine(
        url,
        connect_args=connect_args,
        hide_parameters=True,
        json_serializer=_dump_json,
        json_deserializer=orjson.loads,
        **pool,
    )


def _dump_json(value: object) -> str:
    return orjson.dumps(value).decode()


def _open_sqlite(url: URL, pool: dict[str, Any]) -> Engine:
    if not _is_in_memory(url) and url.database and not url.database.startswith("file:"):
        _make_folder(Path(url.database).parent)
    engine = _create(url, {"timeout": LOCK_TIMEOUT_S, "check_same_thread": False}, pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"the database's folder {folder} can't be made: {error.strerror}. Set database.url to a place that can be "
            "written to."
        ) from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin late, and never with IMMEDIATE
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    for statement in _SQLITE_BEGIN[connection.get_execution_options().get(_ACCESS)]:
        connection.exec_driver_sql(statement)
