"""Times as they stand in data and in conditions: a date or a date and time of ISO 8601, as an instant in UTC."""

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
    """The instant that a text spells, in UTC; None if it spells none.

    The forms are ``2025-01-31`` (midnight) and ``2025-01-31T08:30``, the latter with or without
    seconds, a fraction of up to nine digits (cut to microseconds) and a zone (``Z``, ``+02:00``); a
    blank may stand for the ``T``. Without a zone it is UTC. A day that isn't in the calendar, a
    24th hour and an instant outside the years 1 to 9999 in UTC are none.
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        return in_utc(datetime.fromisoformat(text))
    except (OverflowError, ValueError):
        return None


def in_utc(moment: datetime) -> datetime:
    """The same instant in UTC; one without a zone is in UTC already.

    Raises:
        OverflowError: it lies outside the years 1 to 9999 in UTC.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC, fold=0)  # ``fold`` says nothing in UTC
    return moment.astimezone(UTC).replace(fold=0)


def write_time(moment: datetime) -> str:
    """The shortest spelling that :func:`time_of` reads back: midnight in UTC as a date, all else with its time and ``Z``."""
    if moment.timetz() == time(tzinfo=UTC):
        return moment.date().isoformat()
    return moment.isoformat().removesuffix("+00:00") + "Z"


def microseconds_of(moment: datetime) -> int:
    """Microseconds since 1970 in UTC, negative before."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
FIRST_MICROSECOND, LAST_MICROSECOND = microseconds_of(_FIRST), microseconds_of(_LAST)


def spelled_between(op: str, moments: Sequence[datetime]) -> tuple[str | None, str | None]:
    """Between which texts, the lower one included, all stand that spell a time which compares so with one of these moments.

    Only their dates count, and a zone moves a date by a day at most.
    """
    day, earliest, latest = timedelta(days=1), min(moments), max(moments)
    first = None if earliest - _FIRST < day else (earliest - day).date().isoformat()
    last = None if _LAST - latest < 2 * day else (latest + 2 * day).date().isoformat()
    return (first if op in {"=", ">", ">="} else None), (last if op in {"=", "<", "<="} else None)
