"""The pooled engine, and units of work that run in one thread and one transaction.

A *work* is a function over a session. ``Database.read`` and ``Database.write`` run it on a thread
of the database lane, in its own transaction.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import orjson
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection, QueuePool, StaticPool

from app.errors import DatabaseConflict
from app.executor import Lane
from app.retry import RetryPolicy
from app.settings.sections import DatabaseSettings
from app.sql import postgres, sqlite
from app.sql.errors import translated_errors
from app.sql.transactions import READING, WRITING

T = TypeVar("T")

_TRIES = 5
_AFTER_CONFLICT = RetryPolicy(total_s=1.0, first_delay_s=0.05)


def open_engine(settings: DatabaseSettings) -> Engine:
    """Create an engine for ``settings.url``, without connecting. The caller calls ``dispose()``.

    The folder of a SQLite file is created. An in-memory database gets one connection, which all
    threads share; the pool's sizes don't apply to it. ``idle_in_transaction_timeout`` and
    ``prepared_statements`` are for PostgreSQL; without the latter, the engine needs no state that
    a connection keeps between transactions.
    """
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite":
        return _open_sqlite(url, settings)
    engine = _create(url, postgres.connect_args(url, settings), _pool(settings))
    postgres.set_up(engine, settings)
    return engine


def _open_sqlite(url: URL, settings: DatabaseSettings) -> Engine:
    sqlite.make_file(url)
    pool = {"poolclass": StaticPool} if sqlite.is_in_memory(url) else _pool(settings)
    engine = _create(url, sqlite.CONNECT_ARGS, pool)
    sqlite.set_up(engine, settings.statement_timeout)
    return engine


def _pool(settings: DatabaseSettings) -> dict[str, Any]:
    return {
        "poolclass": CountingPool,
        "pool_size": settings.pool_size,
        "pool_use_lifo": True,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
        "pool_recycle": settings.pool_recycle,
        "pool_pre_ping": True,
    }


def _create(url: URL, connect_args: Mapping[str, Any], pool: Mapping[str, Any]) -> Engine:
    return create_engine(
        url,
        connect_args=dict(connect_args),
        hide_parameters=True,
        json_serializer=_dump_json,
        json_deserializer=orjson.loads,
        **pool,
    )


def _dump_json(value: object) -> str:
    return orjson.dumps(value).decode()


class CountingPool(QueuePool):
    """A pool that counts in ``waits`` how often a caller found all connections in use.

    A caller that races with another one for the last connection may be missed.
    """

    # SQLAlchemy names the pool's logger after the class, and its messages must stay those of a
    # library.
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
        """Check a connection out, waiting if all are in use. The caller closes it."""
        if self.checkedout() >= self._connections:
            with self._counting:
                self.waits += 1
        return super().connect()


class ReadSession(Session):
    """A read-only session: it refuses to flush, and its transaction is read-only in the database.

    It reads from one snapshot, taken at its first statement.
    """

    def __init__(self, engine: Engine) -> None:
        reading = engine.execution_options(**READING[engine.dialect.name])
        super().__init__(reading, autoflush=False, expire_on_commit=False)

    def flush(self, objects: Sequence[object] | None = None) -> None:
        """Flush nothing.

        Raises:
            RuntimeError: there are changes to write.
        """
        if self.new or self.dirty or self.deleted:
            raise RuntimeError("objects were changed in a read-only session; use Database.write")
        super().flush(objects)


class WriteSession(Session):
    """A session that writes; on SQLite its first statement takes the write lock."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.execution_options(**WRITING[engine.dialect.name]), expire_on_commit=False)


class Database:
    """Runs works on the database lane. Thread-safe, and usable from any event loop."""

    def __init__(self, engine: Engine, lane: Lane) -> None:
        self.engine = engine
        self._lane = lane
        # SQLite polls for its write lock, sleeping up to 100 ms; waiting for this lock doesn't.
        self._writers: AbstractContextManager[Any] = (
            threading.Lock() if self.dialect == "sqlite" else nullcontext()
        )

    @property
    def dialect(self) -> str:
        """The dialect's name: ``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    async def read(
        self,
        work: Callable[[ReadSession], T],
        *,
        timeout_s: float | None = None,
        exempt_from_max_waiting: bool = False,
    ) -> T:
        """Run ``work`` on one snapshot of the data and return its result.

        ``exempt_from_max_waiting`` is passed to :meth:`Lane.run`.

        Raises:
            DatabaseUnavailable: the database can't be reached.
            DatabaseError: the database refused a statement.
            Saturated, DeadlineExceeded, ShuttingDown: from the lane; ``timeout_s`` counts from now.
        """
        return await self._lane.run(
            self._read, work, timeout_s=timeout_s, exempt_from_max_waiting=exempt_from_max_waiting
        )

    async def write(
        self,
        work: Callable[[WriteSession], T],
        *,
        timeout_s: float | None = None,
        exempt_from_max_waiting: bool = False,
        repeatable: bool = True,
    ) -> T:
        """Run ``work``, commit, and return its result; roll back if it raises.

        If the transaction conflicts with another one, ``work`` is run again, up to five times in
        all. A work with side effects outside of the session is not ``repeatable``.
        ``exempt_from_max_waiting`` is passed to :meth:`Lane.run`. After DeadlineExceeded the work
        may still commit. Raises the same errors as :meth:`read`.
        """
        return await self._lane.run(
            self._write_repeatedly if repeatable else self._write,
            work,
            timeout_s=timeout_s,
            exempt_from_max_waiting=exempt_from_max_waiting,
        )

    async def ping(self) -> None:
        """Check that the database answers and takes writes, without waiting for other writers.

        Raises:
            DatabaseUnavailable: the database can't be reached.
            DatabaseWritesRefused, DatabaseReadOnly: the database is read-only.
        """
        await self._lane.run(self._ping)

    def _ping(self) -> None:
        with translated_errors(self.engine), self.engine.connect() as connection:
            if self.dialect == "sqlite":
                sqlite.require_writes(self.engine.url)
                connection.execute(text("SELECT 1"))
            else:
                postgres.require_writes(connection)

    def _read(self, work: Callable[[ReadSession], T]) -> T:
        with translated_errors(self.engine), ReadSession(self.engine) as session:
            result = work(session)
            session.flush()
            return result

    def _write_repeatedly(self, work: Callable[[WriteSession], T]) -> T:
        for tries in range(1, _TRIES):
            try:
                return self._write(work)
            except DatabaseConflict:
                time.sleep(_AFTER_CONFLICT.pause_s(tries))
        return self._write(work)

    def _write(self, work: Callable[[WriteSession], T]) -> T:
        with (
            translated_errors(self.engine),
            self._writers,
            WriteSession(self.engine) as session,
            session.begin(),
        ):
            return work(session)
