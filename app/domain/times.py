"""Times in data and in conditions: an ISO 8601 date or date and time, as an instant in UTC."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:0\d|1[0-5]):[0-5]\d)?)?",
    re.ASCII,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(text: str) -> datetime | None:
    """Parse a text as an instant in UTC; None if it isn't a time.

    The forms are ``2025-01-31`` (midnight) and ``2025-01-31T08:30``, the latter with or without
    seconds, a fraction of up to nine digits (cut to microseconds) and a zone (``Z``, ``+02:00``). A
    blank may replace the ``T``. Without a zone the time is in UTC. A day that isn't in the
    calendar, hour 24 and an instant outside the years 1 to 9999 in UTC aren't times.
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        return in_utc(datetime.fromisoformat(text))
    except (OverflowError, ValueError):
        return None


def in_utc(moment: datetime) -> datetime:
    """Convert a time to UTC; one without a zone is taken as UTC.

    Raises:
        OverflowError: the instant is outside the years 1 to 9999 in UTC.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC, fold=0)  # ``fold`` has no meaning in UTC
    return moment.astimezone(UTC).replace(fold=0)


def write_time(moment: datetime) -> str:
    """Write a time in the shortest form that :func:`time_of` reads back.

    Midnight in UTC becomes a date, any other instant a date and time with ``Z``.
    """
    if moment.timetz() == time(tzinfo=UTC):
        return moment.date().isoformat()
    return moment.isoformat().removesuffix("+00:00") + "Z"


def microseconds_of(moment: datetime) -> int:
    """Return the microseconds since 1970 in UTC, negative before."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
FIRST_MICROSECOND, LAST_MICROSECOND = microseconds_of(_FIRST), microseconds_of(_LAST)


def spelled_between(op: str, moments: Sequence[datetime]) -> tuple[str | None, str | None]:
    """Return bounds for the texts of all times that compare by ``op`` with one of the moments.

    The lower bound is inclusive, the upper one exclusive; None is unbounded. The bounds are dates,
    widened by a day because a zone moves a date by a day at most.
    """
    day, earliest, latest = timedelta(days=1), min(moments), max(moments)
    first = None if earliest - _FIRST < day else (earliest - day).date().isoformat()
    last = None if _LAST - latest < 2 * day else (latest + 2 * day).date().isoformat()
    return (first if op in {"=", ">", ">="} else None), (last if op in {"=", "<", "<="} else None)
