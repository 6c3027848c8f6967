"""What is particular to PostgreSQL: how its connections are made, and the time limits that hold on them."""

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
    # Without these, a call would wait for a quarter of an hour for a server that has vanished
    # without a word.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds, unlike the others
}
"""How connections to PostgreSQL are made, where the URL says nothing else."""

FIXED_OPTIONS: Mapping[str, str] = {"client_encoding": "UTF8"}
"""How connections are made whatever the URL, the role or the database says: another encoding can't say every text."""

NO_TIME_LIMITS = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
"""What a transaction begins with that may take as long as it wants."""

_STATEMENT, _IDLE = "statement_timeout", "idle_in_transaction_session_timeout"
_SETTINGS = {_STATEMENT: "database.statement_timeout", _IDLE: "database.idle_in_transaction_timeout"}
_QUERY_CANCELED, _IDLE_IN_TRANSACTION, _READ_ONLY_TRANSACTION = "57014", "25P03", "25006"

READ_ONLY_FOR_S = 1.0
"""How long a connection is kept that says it takes no writes. After a failover the next one may lead to the primary."""

_OPENED = "agent_storage_opened"


def connect_args(url: URL, settings: DatabaseSettings) -> dict[str, Any]:
    """What connections are made with. A pooler may have each transaction on another server connection, which
    doesn't know what was prepared on the last one; without ``settings.prepared_statements`` there
    are none.
    """
    options: dict[str, Any] = {name: value for name, value in POSTGRES_OPTIONS.items() if name not in url.query}
    options |= FIXED_OPTIONS
    return options if settings.prepared_statements else {**options, "prepare_threshold": None}


def set_up(engine: Engine, settings: DatabaseSettings) -> None:
    """Have everything on ``engine`` be in UTC and within the time limits, except those that the URL's ``options`` set.
    A database that can't hold every text isn't connected to: DatabaseEncodingUnfit.

    By session, which costs nothing after connecting; or, where a connection's session isn't its own
    (no ``settings.prepared_statements``), anew in each transaction, which costs each a round trip.
    """
    sessions = settings.prepared_statements
    options = str(engine.url.query.get("options", ""))
    wanted = {_STATEMENT: settings.statement_timeout, _IDLE: settings.idle_in_transaction_timeout}
    limits_s = {name: limit_s for name, limit_s in wanted.items() if name not in options}
    scope = "SET" if sessions else "SET LOCAL"
    # 0 would be no limit.
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
    event.listen(engine, "handle_error", lambda context: _judge(context, limits_s))


def require_writes(connection: Connection) -> None:
    """Make sure that the server takes writes from this connection, which isn't used again otherwise.

    Raises:
        DatabaseWritesRefused: it doesn't.
    """
    refused = text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'")
    if connection.scalar(refused):
        connection.invalidate()
        raise DatabaseWritesRefused


def _require_utf8(connection: "psycopg.Connection[Any]", _entry: object) -> None:
    """What the server says of itself at the start, which costs no round trip."""
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
    """Have the pool connect again where the connection has been read-only for a while; costs no round trip.

    A server of PostgreSQL 14 or newer says so by itself, at the start and when it changes. That is
    no reason to refuse anything, since a pooler may repeat what its server said long ago.
    """
    says = connection.info.parameter_status
    read_only = "on" in (says("in_hot_standby"), says("default_transaction_read_only"))
    if read_only and time.monotonic() - entry.info[_OPENED] > READ_ONLY_FOR_S:
        raise DisconnectionError("the server takes no writes")


def _forget_access(connection: "psycopg.Connection[Any] | None", _entry: object) -> None:
    """Have transactions begin as the server has it, not with ``READ WRITE``, which SQLAlchemy leaves after a reading one.

    A standby refuses that with a code that says nothing of it (0A000), and it would pass over a
    default of read-only.
    """
    if connection is not None and connection.info.transaction_status.name == "IDLE":  # else it is broken
        connection.read_only = None


def _judge(context: ExceptionContext, limits_s: Mapping[str, float]) -> DatabaseError | None:
    """The error to raise instead, if PostgreSQL stopped something because of a time limit or takes no writes."""
    error = context.original_exception
    code = getattr(error, "sqlstate", None)
    if code == _QUERY_CANCELED and "user request" not in str(error):
        return DatabaseTimeout("a statement ran", *_limit(_STATEMENT, limits_s))
    if code == _IDLE_IN_TRANSACTION:
        return DatabaseTimeout("a transaction was silent", *_limit(_IDLE, limits_s))
    if code == _READ_ONLY_TRANSACTION and not is_reading(context.connection):
        context.is_disconnect = (
            True  # and so every connection that the pool has is made again when it is next used
        )
        return DatabaseWritesRefused()
    if code is None and type(error).__name__ == "InternalError":
        # The driver's own: it got what it can't make out, such as a pooler's last words after the
        # server's.
        context.is_disconnect = True
    return None


def _limit(name: str, limits_s: Mapping[str, float]) -> tuple[float | None, str]:
    limit_s = limits_s.get(name)
    return limit_s, f"{name} in the options of database.url" if limit_s is None else _SETTINGS[name]
