"""What is particular to PostgreSQL: how its connections are made, and the time limits that hold on them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, ExceptionContext

from app.errors import DatabaseTimeout
from app.settings.sections import DatabaseSettings

if TYPE_CHECKING:
    import psycopg  # slow to import, and not needed for SQLite

POSTGRES_OPTIONS: Mapping[str, int] = {
    "connect_timeout": 10,
    # Without these, a call would wait for a quarter of an hour for a server that has vanished without a word.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds, unlike the others
}
"""How connections to PostgreSQL are made, where the URL says nothing else."""

NO_TIME_LIMITS = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
"""What a transaction begins with that may take as long as it wants."""

_STATEMENT, _IDLE = "statement_timeout", "idle_in_transaction_session_timeout"
_SETTINGS = {_STATEMENT: "database.statement_timeout", _IDLE: "database.idle_in_transaction_timeout"}
_QUERY_CANCELED, _IDLE_IN_TRANSACTION = "57014", "25P03"


def connect_args(url: URL, settings: DatabaseSettings) -> dict[str, Any]:
    """What connections are made with. A pooler may have each transaction on another server connection, which
    doesn't know what was prepared on the last one; without ``settings.prepared_statements`` there are none.
    """
    options: dict[str, Any] = {name: value for name, value in POSTGRES_OPTIONS.items() if name not in url.query}
    return options if settings.prepared_statements else {**options, "prepare_threshold": None}


def set_up(engine: Engine, settings: DatabaseSettings) -> None:
    """Have everything on ``engine`` be in UTC and within the time limits, except those that the URL's ``options`` set.

    By session, which costs nothing after connecting; or, where a connection's session isn't its own (no
    ``settings.prepared_statements``), anew in each transaction, which costs each a round trip.
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

    event.listen(engine, *(("connect", on_connect) if sessions else ("begin", on_begin)))
    event.listen(engine, "handle_error", lambda context: _judge(context, limits_s))


def _judge(context: ExceptionContext, limits_s: Mapping[str, float]) -> DatabaseTimeout | None:
    """The error to raise instead, if PostgreSQL stopped something because of a time limit."""
    error = context.original_exception
    code = getattr(error, "sqlstate", None)
    if code == _QUERY_CANCELED and "user request" not in str(error):
        return DatabaseTimeout("a statement ran", *_limit(_STATEMENT, limits_s))
    if code == _IDLE_IN_TRANSACTION:
        return DatabaseTimeout("a transaction was silent", *_limit(_IDLE, limits_s))
    if code is None and type(error).__name__ == "InternalError":
        # The driver's own: it got what it can't make out, such as a pooler's last words after the server's.
        context.is_disconnect = True
    return None


def _limit(name: str, limits_s: Mapping[str, float]) -> tuple[float | None, str]:
    limit_s = limits_s.get(name)
    return limit_s, f"{name} in the options of database.url" if limit_s is None else _SETTINGS[name]
