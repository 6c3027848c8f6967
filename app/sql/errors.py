"""Translation of database errors to those of :mod:`app.errors`, with the file or the code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.errors import (
    DatabaseConflict,
    DatabaseDamaged,
    DatabaseDiskFull,
    DatabaseError,
    DatabaseForbidden,
    DatabaseReadOnly,
    DatabaseSchemaAbsent,
    DatabaseUnavailable,
    SchemaMissing,
)

_TRANSIENT = ("SQLITE_BUSY", "SQLITE_LOCKED", "08", "40", "53", "55P03", "57014", "57P")
"""Prefixes of transient errors' codes: unreachable, locked, overloaded, or stopped."""


_UNDEFINED = ("42P01", "42703")
"""PostgreSQL's codes for an undefined table and column; SQLite only has messages for these."""


@contextmanager
def translated_errors(engine: Engine) -> Iterator[None]:
    """Translate SQLAlchemy's errors, so that messages contain no values of the statement."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("every connection of the pool is in use") from error
    except DBAPIError as error:
        raise _translated(error, engine.url.database or ":memory:", engine.url.username or "") from error
    except SQLAlchemyError as error:
        raise DatabaseError(f"a statement could not be sent: {type(error).__name__}") from error


def _translated(error: DBAPIError, file: str, role: str) -> DatabaseError:
    code = _code(error.orig)
    for prefix, made in _OF_FILES.items():
        if code is not None and code.startswith(prefix):
            return made(file, code)
    if code in _OF_CODES:
        return _OF_CODES[code](error.orig, role)
    if code in _UNDEFINED or str(error.orig).startswith(("no such table", "no such column")):
        return SchemaMissing(_reason(error.orig))
    if error.connection_invalidated or _is_transient(error, code):
        return DatabaseUnavailable(f"the database is unavailable: {_reason(error.orig)}")
    return DatabaseError(f"the database refused a statement: {_reason(error.orig)}")


def _can_not_open(file: str, code: str) -> DatabaseError:
    return DatabaseUnavailable(
        f"the database {file} can't be opened ({code}). It and its folder must exist, and this process's user needs "
        "write permission on both; the setting database.url names the file."
    )


def _failing(file: str, code: str) -> DatabaseError:
    return DatabaseUnavailable(
        f"the disk of the database {file} failed ({code}), and this transaction was rolled back. Check the disk's "
        "free space, quota and health, and the system's log."
    )


_OF_FILES: dict[str, Callable[[str, str], DatabaseError]] = {
    "SQLITE_FULL": lambda file, _: DatabaseDiskFull(file),
    "SQLITE_IOERR_SHMSIZE": lambda file, _: DatabaseDiskFull(
        file
    ),  # SQLite's code for no space for its WAL index
    "SQLITE_READONLY": DatabaseReadOnly,
    "SQLITE_CORRUPT": DatabaseDamaged,
    "SQLITE_NOTADB": DatabaseDamaged,
    "SQLITE_CANTOPEN": _can_not_open,
    "SQLITE_IOERR": _failing,
}
"""By the prefix of SQLite's error name."""


def _conflict(error: object, _role: str) -> DatabaseError:
    return DatabaseConflict(f"the transaction conflicted with another one: {_reason(error)}")


_OF_CODES: dict[str, Callable[[object, str], DatabaseError]] = {
    "40001": _conflict,  # a serialization failure
    "40P01": _conflict,  # a deadlock
    "42501": lambda error, role: DatabaseForbidden(_primary(error), role),
    "3F000": lambda _, role: DatabaseSchemaAbsent(role),
}
"""By PostgreSQL's SQLSTATE; called with the connection's role."""


def _code(error: object) -> str | None:
    """Return PostgreSQL's SQLSTATE or SQLite's error name; None if the driver raised the error."""
    return getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)


def _reason(error: object) -> str:
    code = _code(error)
    if code is None:
        return f"{type(error).__name__}: {str(error).strip()}"
    constraint = getattr(getattr(error, "diag", None), "constraint_name", None)
    return f"{type(error).__name__} ({code})" + (f" on {constraint}" if constraint else "")


def _primary(error: object) -> str:
    """Return the server's primary message; for privileges it names a table or schema, no values."""
    return str(getattr(getattr(error, "diag", None), "message_primary", None) or _reason(error))


def _is_transient(error: DBAPIError, code: str | None) -> bool:
    return isinstance(error, OperationalError) and (code is None or code.startswith(_TRANSIENT))
