"""Copying SQLite databases with its online backup, and opening one exclusively.

A database in use must never be opened as a plain file: closing that file would release SQLite's own
locks on it.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import StaticPool

from app.errors import BackupFailed, DatabaseDamaged, DatabaseDiskFull, StoreInUse
from app.sql.errors import translated_errors
from app.sql.sqlite import LOCK_TIMEOUT_S

Driver = sqlite3.Connection

Advance = Callable[[int, int], object]
"""A callback with the numbers of copied and of all pages; if it raises, the copy ends."""

_SLICE_PAGES = 1_000
"""A copy can be stopped after each slice; 4 MB take a few milliseconds."""

_FEW_PAGES = 100
"""Each page is read and written only once, so a larger cache would be of no use."""

_MAPPED_BYTES = 2**30

_PATIENCE_S = 1.0
"""The wait for a command that is about to end; a service would keep its connections open."""

_STEPS_A_LOOK = 100_000
"""SQLite instructions between two checks of whether to stop: some milliseconds."""


@contextmanager
def reading(file: Path) -> Iterator[Driver]:
    """Open the database in a read transaction: one snapshot, which doesn't block writers.

    Without the transaction, a copy in slices would restart whenever another process writes, and
    might never end.

    Raises:
        DatabaseError: the database can't be read.
    """
    with closing(_connect(file, timeout=LOCK_TIMEOUT_S)) as connection, wrapped(connection, file) as ours:
        ours.exec_driver_sql("PRAGMA query_only = ON")
        ours.exec_driver_sql(f"PRAGMA cache_size = {_FEW_PAGES}")
        ours.exec_driver_sql("BEGIN")
        ours.exec_driver_sql("SELECT name FROM sqlite_master").all()
        yield connection


def copy_to_new(source: Driver, file: Path, advance: Advance) -> None:
    """Copy the database to ``file``, which is empty and not in use; the caller syncs it.

    Raises:
        BackupFailed: the file can't be written, or the source can't be read.
    """
    with closing(_connect(file)) as target:
        # An incomplete file is deleted, so it needs no journal.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        target.execute(f"PRAGMA cache_size = {_FEW_PAGES}")
        try:
            _copy(source, target, advance)
            # In WAL mode, opening the copy creates files beside it, and fails on a read-only disk.
            target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise BackupFailed(str(file), _reason(error)) from error


def copy_over(source: Path, target: Driver, file: str, advance: Advance) -> None:
    """Replace the contents of ``target`` with those of an unused file, in one transaction.

    Until the commit, ``target`` is unchanged, even if this process is killed.

    Raises:
        DatabaseDiskFull: the disk is full.
        BackupFailed: ``target`` can't be written.
    """
    with resting(source) as whole:
        try:
            _copy(whole, target, advance)
        except sqlite3.Error as error:
            if _code(error).startswith("SQLITE_FULL"):
                raise DatabaseDiskFull(file) from error
            raise BackupFailed(file, _reason(error)) from error


@contextmanager
def resting(file: Path) -> Iterator[Driver]:
    """Open a complete database that no process writes to, without creating files beside it."""
    with closing(_connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        # Memory-mapped, because pages are read in the order of keys, at random places of the file.
        connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        yield connection


def find_damage(connection: Driver, is_stopped: Callable[[], bool]) -> str | None:
    """Return the first problem that SQLite's integrity check finds; None if there is none."""
    connection.set_progress_handler(is_stopped, _STEPS_A_LOOK)
    try:
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = _reason(error)
    finally:
        connection.set_progress_handler(None, 0)
    return None if found == "ok" else str(found)


@contextmanager
def alone(file: Path) -> Iterator[Driver]:
    """Open the database exclusively until the end of the block; create it if it is missing.

    Raises:
        StoreInUse: another process has the database open, even if it is idle.
        DatabaseDamaged: the file isn't a database, or is damaged.
    """
    with closing(_connect(file, timeout=_PATIENCE_S)) as connection:
        try:
            # Set before the first read, so that SQLite requests a lock that conflicts with idle
            # connections too.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            code = _code(error)
            if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise StoreInUse(str(file)) from error
            if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
                raise DatabaseDamaged(str(file), code) from error
            raise BackupFailed(str(file), _reason(error)) from error
        yield connection


@contextmanager
def wrapped(connection: Driver, file: Path) -> Iterator[Connection]:
    """Wrap the driver's connection as SQLAlchemy's, for reading; it stays open.

    Raises:
        DatabaseError: the file can't be read.
    """
    url = URL.create("sqlite", database=str(file))  # for error messages
    engine = create_engine(url, creator=lambda: connection, poolclass=StaticPool)
    with translated_errors(engine), engine.connect() as ours:
        yield ours


def _connect(file: Path | str, *, uri: bool = False, timeout: float = 0.0) -> Driver:
    return sqlite3.connect(file, uri=uri, timeout=timeout, isolation_level=None, check_same_thread=False)


def _copy(source: Driver, target: Driver, advance: Advance) -> None:
    source.backup(
        target, pages=_SLICE_PAGES, progress=lambda _, left, total: advance(total - left, total), sleep=0.01
    )


def _code(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or ""


def _reason(error: sqlite3.Error) -> str:
    code = _code(error)
    return f"{error} ({code})" if code else str(error)
