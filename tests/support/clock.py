"""Shifts the database's clock for tests."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event, text

_SCHEMA = "another_time"
_SHIFT = f"UPDATE {_SCHEMA}.shift SET seconds = :seconds"  # noqa: S608 - a constant
_FUNCTION = (
    f"CREATE FUNCTION {_SCHEMA}.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS "  # noqa: S608 - a constant
    f"'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM {_SCHEMA}.shift'"
)


class Clock:
    """The shifted clock. ``shift_s`` is the difference from the real time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shift_s = 0.0

    def set(self, shift_s: float) -> None:
        """Shift the clock from the next statement on."""
        self.shift_s = shift_s
        if self.engine.dialect.name == "postgresql":
            with self.engine.begin() as connection:
                connection.execute(text(_SHIFT), {"seconds": shift_s})


@contextmanager
def clock_of(engine: Engine) -> Iterator[Clock]:
    """Replace the database's clock, on every connection that ``engine`` makes from now on."""
    clock = Clock(engine)
    engine.dispose()
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: _set_sqlite(connection, clock))
        yield clock
        return
    with engine.begin() as connection:
        _make_postgres(connection)
    engine.dispose()
    path = f"SET search_path = {_SCHEMA}, public, pg_catalog"
    event.listen(engine, "connect", lambda connection, _: connection.execute(path) and connection.commit())
    try:
        yield clock
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {_SCHEMA} CASCADE"))


def _set_sqlite(connection: sqlite3.Connection, clock: Clock) -> None:
    """Replace SQLite's function, which reads the system's time."""
    with_right_time = sqlite3.connect(":memory:", check_same_thread=False)

    def strftime(*arguments: Any) -> Any:
        form, moment, *rest = arguments
        if moment == "now":
            rest = [f"{clock.shift_s:+.3f} seconds", *rest]
        marks = ", ".join("?" * (2 + len(rest)))
        return with_right_time.execute(f"SELECT strftime({marks})", (form, moment, *rest)).fetchone()[0]

    connection.create_function("strftime", -1, strftime)


def _make_postgres(connection: Connection) -> None:
    """Shadow PostgreSQL's function by one that comes first in the search path."""
    for statement in (
        f"CREATE SCHEMA {_SCHEMA}",
        f"CREATE TABLE {_SCHEMA}.shift AS SELECT 0.0::float AS seconds",
        _FUNCTION,
    ):
        connection.execute(text(statement))
