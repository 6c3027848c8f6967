"""The database's clock, the one clock for leases and for when jobs start and complete."""

from datetime import datetime

from sqlalchemy import ColumnElement, Interval, func

from app.models import UtcDateTime


def now(dialect: str, *, plus_s: float = 0.0) -> ColumnElement[datetime]:
    """This moment, ``plus_s`` seconds later, as an expression; on SQLite to the millisecond.

    On SQLite it is text of the form in which :class:`UtcDateTime` is stored, so the two compare by
    time.
    """
    if dialect == "postgresql":
        moment = func.clock_timestamp(type_=UtcDateTime)
        return moment + func.make_interval(0, 0, 0, 0, 0, 0, plus_s, type_=Interval) if plus_s else moment
    return func.strftime("%Y-%m-%d %H:%M:%f000", "now", f"{plus_s:+.3f} seconds", type_=UtcDateTime)
