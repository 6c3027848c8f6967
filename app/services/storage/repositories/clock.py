"""The database's clock, the only clock for leases and for jobs' start and end."""

from datetime import datetime

from sqlalchemy import ColumnElement, Interval, func

from app.models import UtcDateTime


def now(dialect: str, *, plus_s: float = 0.0) -> ColumnElement[datetime]:
    """The current time plus ``plus_s`` seconds, as an SQL expression; on SQLite in milliseconds.

    On SQLite it is text in the format of a stored :class:`UtcDateTime`, so the two compare by time.
    """
    if dialect == "postgresql":
        moment = func.clock_timestamp(type_=UtcDateTime)
        return moment + func.make_interval(0, 0, 0, 0, 0, 0, plus_s, type_=Interval) if plus_s else moment
    return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{plus_s:+.3f} seconds", type_=UtcDateTime)
