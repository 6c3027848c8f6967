"""A custom dialect strategy, for a database that only speaks PostgreSQL's protocol.

PostgreSQL gives the seconds of an interval as an exact number. Others give a floating-point one,
which has to be rounded to the microsecond to be exact.
"""

from sqlalchemy import BigInteger, ColumnElement, Float, cast, extract, func

from app.config import Settings
from app.services.metrics.dialects import MICROSECONDS, Timestamp
from containers import Container, create_container


class RoundingDurationDialect:
    """Implements :class:`app.services.metrics.dialects.DurationDialect`, without a base class."""

    def microseconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[int]:
        """``end - start`` as a 64-bit integer: negative if ``end`` is earlier, NULL if one is."""
        seconds = cast(extract("epoch", end - start), Float(53))
        return cast(func.round(seconds * MICROSECONDS), BigInteger)

    def seconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[float]:
        """``end - start`` in seconds."""
        return cast(self.microseconds_between(start, end), Float(53)) / MICROSECONDS


def container_with_rounding(settings: Settings) -> Container:
    """A container whose metrics use this strategy, whatever the database's dialect is called."""
    return create_container(settings, duration_dialect=RoundingDurationDialect())
