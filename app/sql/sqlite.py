"""What is particular to SQLite: how its connections are prepared, and how its transactions begin."""

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL

from app.errors import DatabaseError
from app.private_files import make_private_file, make_private_folder
from app.sql.transactions import ACCESS

LOCK_TIMEOUT_S = 30.0
"""How long SQLite waits for another process's write transaction."""

CONNECT_ARGS: Mapping[str, Any] = {"timeout": LOCK_TIMEOUT_S, "check_same_thread": False}

_BEGIN = {
    "read": ("PRAGMA query_only = ON", "BEGIN"),
    "write": ("PRAGMA query_only = OFF", "BEGIN IMMEDIATE"),
    None: ("PRAGMA query_only = OFF", "BEGIN"),
}
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    # Ids are random, so a batch touches pages all over the indexes: keep them, and copy them back less often.
    "cache_size = -32000",
    "wal_autocheckpoint = 4000",
)


def is_in_memory(url: URL) -> bool:
    """Whether the database lives in this process alone."""
    name = url.database or ":memory:"
    return ":memory:" in name or "mode=memory" in name or url.query.get("mode") == "memory"


def make_file(url: URL) -> None:
    """Make the database's file, empty, and its folder; SQLite gives its other files the same mode.

    A file that can't be made is left to SQLite, which says more of it.

    Raises:
        DatabaseError: the folder can't be made.
    """
    if is_in_memory(url) or not url.database or url.database.startswith("file:"):
        return
    folder = Path(url.database).parent
    try:
        make_private_folder(folder)
    except OSError as error:
        raise DatabaseError(
            f"the database's folder {folder} can't be made: {error.strerror}. Set database.url to a place that can be "
            "written to."
        ) from error
    with suppress(OSError):
        make_private_file(Path(url.database))


def set_up(engine: Engine) -> None:
    """Have every connection of ``engine`` be durable, and every transaction begin as its options say."""
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin late, and never with IMMEDIATE
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    for statement in _BEGIN[connection.get_execution_options().get(ACCESS)]:
        connection.exec_driver_sql(statement)
