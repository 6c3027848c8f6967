"""Job durations as SQL expressions: a strategy for each dialect, exact to the microsecond."""

from datetime import datetime
from typing import Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Integer,
    SQLColumnExpression,
    String,
    cast,
    extract,
    func,
)

from app.errors import UnsupportedDialect

MICROSECONDS = 1_000_000

Timestamp = SQLColumnExpression[datetime | None]


class DurationDialect(Protocol):
    """Computes the time between two timestamps in the database."""

    def microseconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[int]:
        """``end - start`` as a 64-bit integer; NULL if either is NULL; it may be negative."""
        ...

    def seconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[float]:
        """``end - start`` in seconds, equal to Python's ``(end - start).total_seconds()``."""
        ...


class PostgresDurationDialect:
    """PostgreSQL's own difference of timestamps.

    ``timestamptz - timestamptz`` is an interval of whole days and microseconds (never months,
    whatever the session's timezone), and ``extract(epoch from interval)`` gives it as an exact
    ``numeric``; see "Date/Time Functions and Operators" in the PostgreSQL manual.
    """

    def microseconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[int]:
        """See :class:`DurationDialect`."""
        return cast(extract("epoch", end - start) * MICROSECONDS, BigInteger)

    def seconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[float]:
        """See :class:`DurationDialect`."""
        return cast(extract("epoch", end - start), Float(53))


class SqliteDurationDialect:
    """Whole seconds from the date functions, and the fraction from its digits.

    SQLite's date functions compute in whole milliseconds. So they are exact only for the part of a
    timestamp ``YYYY-MM-DD HH:MM:SS.ffffff`` before the point. A Julian day is a double in the
    millions, precise to a tenth of a millisecond, so the difference of two is well within half a
    second of the whole number of seconds, which ``round`` finds (for the years 0000 to 9999; "Date
    And Time Functions" in SQLite's manual). The fraction is read as a number from the text, with
    any number of digits or none.
    """

    def microseconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[int]:
        """See :class:`DurationDialect`."""
        days = _julian_day_of_second(end) - _julian_day_of_second(start)
        fraction = _fraction_of_second(end) - _fraction_of_second(start)
        return _whole(days * 86_400) * MICROSECONDS + _whole(fraction * MICROSECONDS)

    def seconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[float]:
        """See :class:`DurationDialect`."""
        return cast(self.microseconds_between(start, end), Float()) / MICROSECONDS


def _julian_day_of_second(timestamp: Timestamp) -> ColumnElement[float]:
    return func.julianday(func.substr(timestamp, 1, 19, type_=String), type_=Float)


def _fraction_of_second(timestamp: Timestamp) -> ColumnElement[float]:
    return cast(func.substr(timestamp, 20, type_=String), Float)


def _whole(number: ColumnElement[float]) -> ColumnElement[int]:
    return cast(func.round(number, type_=Float), Integer)


_DIALECTS: dict[str, type[DurationDialect]] = {
    "postgresql": PostgresDurationDialect,
    "sqlite": SqliteDurationDialect,
}


def duration_dialect_for(name: str) -> DurationDialect:
    """The strategy for the SQLAlchemy dialect with this name.

    Raises:
        UnsupportedDialect: there is none; the message lists the supported ones.
    """
    dialect = _DIALECTS.get(name)
    if dialect is None:
        raise UnsupportedDialect(name, sorted(_DIALECTS))
    return dialect()
