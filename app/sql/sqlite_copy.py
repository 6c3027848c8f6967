"""Copies of a SQLite database by its online backup, and a database that one process has for itself.

Nothing here opens a database that is in use as a plain file: closing it would take away SQLite's own locks on it.
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
"""Is told how many of how many pages are copied; what it raises ends the copy."""

_SLICE_PAGES = 1_000
"""Between two slices a copy can be stopped; 4 MB take a few milliseconds."""

_FEW_PAGES = 100
"""Each page is read and written once; a cache of SQLite's own would only be filled."""

_MAPPED_BYTES = 2**30

_PATIENCE_S = 1.0
"""For a command that is just ending; a service keeps its connections open."""

_STEPS_A_LOOK = 100_000
"""How many of SQLite's instructions run between two looks at whether to stop: some milliseconds."""


@contextmanager
def reading(file: Path) -> Iterator[Driver]:
    """The database in a transaction that reads: all of it is of one moment, and writers go on.

    Without the transaction a copy in slices begins again whenever another process has written, and
    so might never end.

    Raises:
        DatabaseError: it can't be read.
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
        BackupFailed: the file can't be written, or the source not be read.
    """
    with closing(_connect(file)) as target:
        # A file that isn't whole is thrown away, so it needs no journal.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        target.execute(f"PRAGMA cache_size = {_FEW_PAGES}")
        try:
            _copy(source, target, advance)
            # Otherwise opening it would leave a log beside it, and fail on a read-only disk.
            target.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise BackupFailed(str(file), _reason(error)) from error


def copy_over(source: Path, target: Driver, file: str, advance: Advance) -> None:
    """Have the database ``target`` hold what the resting file ``source`` does, in one transaction.

    Until it has committed, the database is as it was, whatever ends this process.

    Raises:
        DatabaseDiskFull: there is no room for it.
        BackupFailed: it can't be written.
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
    """A whole database that no process writes to; reading leaves no other files beside it."""
    with closing(_connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        # Its pages are read in the order of keys, which is all over the file.
        connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        yield connection


def find_damage(connection: Driver, is_stopped: Callable[[], bool]) -> str | None:
    """The first thing that SQLite's own check of the whole database finds wrong; None where all is well."""
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
    """The database, made if it is missing, with every other connection kept out until the end.

    Raises:
        StoreInUse: another process has it open, if only idly.
        DatabaseDamaged: that is no database, or it can't be read.
    """
    with closing(_connect(file, timeout=_PATIENCE_S)) as connection:
        try:
            # Set before the first read: so SQLite asks for the file as a whole, which idle
            # connections hold too.
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
    """The driver's connection as SQLAlchemy's, for reading; it stays open.

    Raises:
        DatabaseError: the file can't be read.
    """
    url = URL.create("sqlite", database=str(file))  # for what errors say
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
