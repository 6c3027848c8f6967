"""SQLite's connections: their preparation, time limits, and how transactions begin."""

import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry

from app.domain.condition_values import exact_number
from app.domain.times import microseconds_of, time_of
from app.domain.whole_words import has_words
from app.errors import DatabaseError, DatabaseReadOnly, DatabaseTimeout
from app.private_files import make_private_file, make_private_folder
from app.sql.transactions import ACCESS, is_reading

LOCK_TIMEOUT_S = 30.0
"""How long SQLite waits for another process's write transaction."""

CONNECT_ARGS: Mapping[str, Any] = {"timeout": LOCK_TIMEOUT_S, "check_same_thread": False}

_QUERY_ONLY = "agent_storage_query_only"
_BEGIN = {"read": ("ON", "BEGIN"), "write": ("OFF", "BEGIN IMMEDIATE"), None: ("OFF", "BEGIN")}
"""By access: the value of ``query_only``, and the statement that begins."""
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    # Ids are random, so a batch touches pages all over the indexes: cache more pages, and
    # checkpoint less often.
    "cache_size = -32000",
    "wal_autocheckpoint = 4000",
    # Rows are read at random places. Without a copy of each page that isn't cached, a search takes
    # 0.6 ms less CPU time of 3.6 (100,000 extractions).
    f"mmap_size = {2**28}",
)


_LIMIT = "agent_storage_time_limit"
_LOOKED_AT_EVERY = 1_000_000
"""SQLite instructions between two checks of the time, which wait for the GIL: some 10 to 90 ms."""


def _time_of(value: object) -> int | None:
    moment = time_of(value) if isinstance(value, str) else None
    return None if moment is None else microseconds_of(moment)


def _has_words(value: object, wanted: str) -> bool:
    return isinstance(value, str) and has_words(value, wanted)


_FUNCTIONS: Mapping[str, Any] = {"time_of": _time_of, "has_words": _has_words, "exact_number": exact_number}
"""SQL functions that conditions on facts need and SQLite lacks."""


def is_in_memory(url: URL) -> bool:
    """Whether the database is in memory."""
    name = url.database or ":memory:"
    return ":memory:" in name or "mode=memory" in name or url.query.get("mode") == "memory"


def file_of(url: URL) -> Path | None:
    """Return the database's file; None for one in memory, and for SQLite's own file URIs."""
    if is_in_memory(url) or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)


def make_file(url: URL) -> None:
    """Create the database's file, empty, and its folder; SQLite's other files get its mode.

    If the file can't be created, SQLite reports the error on connecting, in more detail.

    Raises:
        DatabaseError: the folder can't be created.
    """
    file = file_of(url)
    if file is None:
        return
    folder = file.parent
    try:
        make_private_folder(folder)
    except OSError as error:
        raise DatabaseError(
            f"the database's folder {folder} can't be created: {error.strerror}. Set database.url to a file in a "
            "writable folder."
        ) from error
    with suppress(OSError):
        make_private_file(file)


class _TimeLimit:
    """The time limit of a connection's current statement."""

    def __init__(self) -> None:
        self.ends = math.inf

    def is_over(self) -> bool:
        """Whether SQLite must interrupt the statement; SQLite calls it regularly meanwhile."""
        return time.monotonic() > self.ends


def set_up(engine: Engine, statement_timeout_s: float) -> None:
    """Set up the engine's connections: durability, the start of transactions, and time limits.

    ``statement_timeout_s`` only applies to statements of read-only transactions.
    """

    def begin_statement(connection: Connection, *_statement: object) -> None:
        limit: _TimeLimit = connection.connection.info[_LIMIT]
        limit.ends = time.monotonic() + statement_timeout_s if is_reading(connection) else math.inf

    def judge(context: ExceptionContext) -> DatabaseTimeout | None:
        if getattr(context.original_exception, "sqlite_errorname", None) != "SQLITE_INTERRUPT":
            return None
        return DatabaseTimeout("a statement ran", statement_timeout_s, "database.statement_timeout")

    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "before_cursor_execute", begin_statement)
    event.listen(engine, "handle_error", judge)
    if not is_in_memory(engine.url):
        event.listen(engine, "handle_error", _drop_read_only)


def require_writes(url: URL) -> None:
    """Check that this process may write to the file and its folder, without taking a lock.

    Raises:
        DatabaseReadOnly: the process lacks write permission.
    """
    file = file_of(url)
    if file is None:
        return
    effective = os.access in os.supports_effective_ids
    may_write = (os.access(path, os.W_OK, effective_ids=effective) for path in (file, file.parent))
    if file.exists() and not all(may_write):
        raise DatabaseReadOnly(str(file), "SQLITE_READONLY")


def _drop_read_only(context: ExceptionContext) -> None:
    """Replace a connection that failed to write: one opened on a read-only file stays read-only."""
    code = getattr(context.original_exception, "sqlite_errorname", None) or ""
    if code.startswith("SQLITE_READONLY") and not is_reading(context.connection):
        context.is_disconnect = True


def _prepare(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver would begin late, and never use IMMEDIATE
    for name, function in _FUNCTIONS.items():
        connection.create_function(name, function.__code__.co_argcount, function, deterministic=True)
    record.info[_LIMIT] = limit = _TimeLimit()
    connection.set_progress_handler(limit.is_over, _LOOKED_AT_EVERY)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    query_only, begin = _BEGIN[connection.get_execution_options().get(ACCESS)]
    if connection.info.get(_QUERY_ONLY) != query_only:
        connection.exec_driver_sql(f"PRAGMA query_only = {query_only}")
        connection.info[_QUERY_ONLY] = query_only
    connection.exec_driver_sql(begin)


@contextmanager
def foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Turn foreign keys off, to recreate tables: with them on, DROP TABLE deletes referring rows.

    Enter it before the transaction, because SQLite ignores the pragma inside of one.
    """
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()
