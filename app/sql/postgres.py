"""PostgreSQL's connections: their options, time limits, encoding and failover."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import DatabaseEncodingUnfit, DatabaseError, DatabaseTimeout, DatabaseWritesRefused
from app.settings.sections import DatabaseSettings
from app.sql.transactions import is_reading

if TYPE_CHECKING:
    import psycopg  # slow to import, and not needed for SQLite

POSTGRES_OPTIONS: Mapping[str, int] = {
    "connect_timeout": 10,
    # Without these, a call would wait 15 minutes for a server that disappeared without closing the
    # connection.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds, unlike the others
}
"""Default options of connections, which the URL can override."""

FIXED_OPTIONS: Mapping[str, str] = {"client_encoding": "UTF8"}
"""Options that nothing can override, because other encodings can't represent every text."""

NO_TIME_LIMITS = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
"""The first statements of a transaction without time limits."""

_STATEMENT, _IDLE = "statement_timeout", "idle_in_transaction_session_timeout"
_SETTINGS = {_STATEMENT: "database.statement_timeout", _IDLE: "database.idle_in_transaction_timeout"}
_QUERY_CANCELED, _IDLE_IN_TRANSACTION, _READ_ONLY_TRANSACTION = "57014", "25P03", "25006"

READ_ONLY_FOR_S = 1.0
"""How long a read-only connection is kept; after a failover a new one may reach the primary."""

_OPENED = "agent_storage_opened"


def connect_args(url: URL, settings: DatabaseSettings) -> dict[str, Any]:
    """Return the driver's arguments for connections.

    A pooler may run each transaction on another server connection, which lacks the statements
    prepared on the last one; without ``settings.prepared_statements`` none are prepared.
    """
    options: dict[str, Any] = {name: value for name, value in POSTGRES_OPTIONS.items() if name not in url.query}
    options |= FIXED_OPTIONS
    return options if settings.prepared_statements else {**options, "prepare_threshold": None}


def set_up(engine: Engine, settings: DatabaseSettings) -> None:
    """Set UTC and the time limits on connections of ``engine``, and refuse unsuitable encodings.

    Time limits in the URL's ``options`` are kept. Settings are made once for each session, which
    costs nothing later. Without ``settings.prepared_statements`` a pooler may change the session,
    so they are made in each transaction, which costs a round trip. Connecting to a database with
    another encoding than UTF8 raises DatabaseEncodingUnfit.
    """
    sessions = settings.prepared_statements
    options = str(engine.url.query.get("options", ""))
    wanted = {_STATEMENT: settings.statement_timeout, _IDLE: settings.idle_in_transaction_timeout}
    limits_s = {name: limit_s for name, limit_s in wanted.items() if name not in options}
    scope = "SET" if sessions else "SET LOCAL"
    # PostgreSQL takes 0 for no limit.
    lines = [f"{scope} {name} = {max(1, round(limit_s * 1000))}" for name, limit_s in limits_s.items()]
    statements = "; ".join([f"{scope} TIME ZONE 'UTC'", *lines])

    def on_connect(connection: "psycopg.Connection[Any]", _record: object) -> None:
        connection.execute(statements.encode())
        connection.commit()

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(statements)

    event.listen(engine, "connect", _require_utf8)
    event.listen(engine, *(("connect", on_connect) if sessions else ("begin", on_begin)))
    event.listen(engine, "connect", _note_time)
    event.listen(engine, "checkout", _replace_read_only)
    event.listen(engine, "checkin", _forget_access)
    event.listen(engine, "handle_error", lambda context: _translated(context, limits_s))


def require_writes(connection: Connection) -> None:
    """Check that the server takes writes on this connection; if not, invalidate the connection.

    Raises:
        DatabaseWritesRefused: the server is read-only.
    """
    refused = text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'")
    if connection.scalar(refused):
        connection.invalidate()
        raise DatabaseWritesRefused


def _require_utf8(connection: "psycopg.Connection[Any]", _entry: object) -> None:
    """Check the encoding that the server reports on connecting, which costs no round trip."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in {None, "UTF8"}:
        name = connection.info.dbname
        connection.close()
        raise DatabaseEncodingUnfit(name, str(encoding))


def _note_time(_connection: object, entry: ConnectionPoolEntry) -> None:
    entry.info[_OPENED] = time.monotonic()


def _replace_read_only(
    connection: "psycopg.Connection[Any]", entry: ConnectionPoolEntry, _fairy: object
) -> None:
    """Make the pool reconnect if a connection has been read-only for a while; needs no round trip.

    PostgreSQL 14 and newer report this state on connecting and when it changes. It isn't reliable
    enough to refuse writes, because a pooler may repeat an old report of its server.
    """
    says = connection.info.parameter_status
    read_only = "on" in (says("in_hot_standby"), says("default_transaction_read_only"))
    if read_only and time.monotonic() - entry.info[_OPENED] > READ_ONLY_FOR_S:
        raise DisconnectionError("the server takes no writes")


def _forget_access(connection: "psycopg.Connection[Any] | None", _entry: object) -> None:
    """Reset the access mode to the server's default; after reading, SQLAlchemy leaves READ WRITE.

    A standby refuses ``READ WRITE`` with an unspecific code (0A000), and it would override a
    default of read-only.
    """
    if connection is not None and connection.info.transaction_status.name == "IDLE":  # else it is broken
        connection.read_only = None


def _translated(context: ExceptionContext, limits_s: Mapping[str, float]) -> DatabaseError | None:
    """Return the error to raise instead, for a time limit or a refused write; None for others."""
    error = context.original_exception
    code = getattr(error, "sqlstate", None)
    if code == _QUERY_CANCELED and "user request" not in str(error):
        return DatabaseTimeout("a statement ran", *_limit(_STATEMENT, limits_s))
    if code == _IDLE_IN_TRANSACTION:
        return DatabaseTimeout("a transaction was idle", *_limit(_IDLE, limits_s))
    if code == _READ_ONLY_TRANSACTION and not is_reading(context.connection):
        context.is_disconnect = True  # makes the pool replace all its connections
        return DatabaseWritesRefused()
    if code is None and type(error).__name__ == "InternalError":
        # An error of the driver: it received unexpected messages, such as a pooler's after the
        # server's.
        context.is_disconnect = True
    return None


def _limit(name: str, limits_s: Mapping[str, float]) -> tuple[float | None, str]:
    limit_s = limits_s.get(name)
    return limit_s, f"{name} in the options of database.url" if limit_s is None else _SETTINGS[name]
