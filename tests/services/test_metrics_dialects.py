"""Each dialect's durations against Python's."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, String, cast, func, insert, literal, null, select, text
from support.examples import examples

from app.errors import UnsupportedDialect
from app.models import Job, UtcDateTime
from app.services.metrics.dialects import (
    PostgresDurationDialect,
    SqliteDurationDialect,
    duration_dialect_for,
)
from app.sql.transactions import begin_write

pytestmark = pytest.mark.contract

Period = tuple[datetime, datetime]

MICROSECOND = timedelta(microseconds=1)
UNITS = [timedelta(**unit) for unit in ({"microseconds": 1}, {"seconds": 1}, {"minutes": 1}, {"days": 1})]
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


EDGES: dict[str, Period] = {
    "nothing": (instant("2024-05-01 12:00"), instant("2024-05-01 12:00")),
    "a microsecond at half a millisecond": (
        instant("2024-05-01 12:00:59.999499"),
        instant("2024-05-01 12:00:59.999500"),
    ),
    "a fraction that rounds up to a minute": (
        instant("2024-05-01 12:00:59.999600"),
        instant("2024-05-01 12:01"),
    ),
    "into a leap day": (instant("2024-02-28 23:59:59.999999"), instant("2024-02-29")),
    "over no leap day": (instant("2023-02-28 23:59:59.999999"), instant("2023-03-01")),
    "over a century without a leap day": (instant("2096-02-29"), instant("2104-02-29 00:00:00.000001")),
    "over the epoch": (instant("1969-12-31 23:59:59.000001"), instant("1970-01-01 00:00:00.000002")),
    "over the end of 32 bits": (instant("2038-01-19 03:14:07"), instant("2038-01-19 03:14:08.5")),
    "backwards": (instant("2024-05-01 00:00:00.000001"), instant("2024-04-30 23:59:59.999999")),
    "backwards by years": (instant("2024-05-01 00:00:00.9"), instant("1999-12-31 23:59:59.1")),
    "all there is": (FIRST, LAST),
    "the last second": (LAST.replace(microsecond=0), LAST),
}


def later(start: datetime, count: int, unit: timedelta) -> Period:
    try:
        return start, start + count * unit
    except OverflowError:
        return start, start


zones = st.sampled_from([UTC, *map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Pacific/Apia"))])
instants = st.datetimes(timezones=st.just(UTC)) | st.datetimes(
    FIRST.replace(day=3, tzinfo=None), LAST.replace(day=29, tzinfo=None), timezones=zones
)
periods = st.tuples(instants, instants) | st.builds(
    later, instants, st.integers(-5_000, 5_000), st.sampled_from(UNITS)
)


def measure(engine: Engine, periods: Sequence[Period]) -> list[tuple[int, float]]:
    """Microseconds and seconds of each period, stored as a job's; nothing stays stored."""
    dialect = duration_dialect_for(engine.dialect.name)
    jobs = [
        {"type": "embed", "priority": place, "started_at": start, "completed_at": end}
        for place, (start, end) in enumerate(periods)
    ]
    durations = select(
        dialect.microseconds_between(Job.started_at, Job.completed_at),
        dialect.seconds_between(Job.started_at, Job.completed_at),
    ).order_by(Job.priority)
    with begin_write(engine) as connection:
        connection.execute(insert(Job), jobs)
        measured = [(micro, seconds) for micro, seconds in connection.execute(durations)]
        connection.rollback()
    return measured


def assert_as_python_has_it(engine: Engine, periods: Sequence[Period]) -> None:
    # Between two times of one zone Python's own difference is that of their clocks.
    durations = [end.astimezone(UTC) - start.astimezone(UTC) for start, end in periods]
    measured = measure(engine, periods)
    assert [micro for micro, _ in measured] == [duration // MICROSECOND for duration in durations]
    # A float has 53 bits: beyond 285 years it can't tell one microsecond from the next.
    assert [seconds for _, seconds in measured] == [
        pytest.approx(duration.total_seconds(), rel=2**-52, abs=0) for duration in durations
    ]


@pytest.mark.parametrize("edge", EDGES)
def test_an_edge(engine: Engine, edge: str) -> None:
    assert_as_python_has_it(engine, [EDGES[edge]])


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(st.lists(periods, min_size=1, max_size=50))
@example(list(EDGES.values()))
def test_any_durations(engines: list[Engine], periods: list[Period]) -> None:
    for engine in engines:
        assert_as_python_has_it(engine, periods)


@pytest.mark.parametrize("ends", [("start",), ("end",), ("start", "end")], ids="+".join)
def test_nothing_between_nothing(engine: Engine, ends: tuple[str, ...]) -> None:
    dialect = duration_dialect_for(engine.dialect.name)
    known: Any = literal(FIRST, UtcDateTime)
    unknown: Any = cast(null(), UtcDateTime)
    start, end = (unknown if name in ends else known for name in ("start", "end"))
    with engine.connect() as connection:
        assert connection.scalar(select(dialect.microseconds_between(start, end))) is None
        assert connection.scalar(select(dialect.seconds_between(start, end))) is None


@pytest.mark.parametrize("timezone", ["Pacific/Auckland", "America/New_York", "UTC"])
def test_the_time_zone_of_the_session_does_not_matter(postgres_engine: Engine, timezone: str) -> None:
    start, end = instant("2024-03-09 12:00"), instant("2024-11-04 12:00:00.000001")
    between = PostgresDurationDialect().microseconds_between(
        literal(start, UtcDateTime), literal(end, UtcDateTime)
    )
    with postgres_engine.connect() as connection:
        connection.execute(text(f"SET LOCAL TIME ZONE '{timezone}'"))
        assert connection.scalar(select(between)) == (end - start) // MICROSECOND


@pytest.mark.parametrize(
    ("end", "microseconds"),
    [
        ("2024-05-01 12:00:01.250000", 1_250_000),
        ("2024-05-01 12:00:01.250", 1_250_000),
        ("2024-05-01 12:00:01.25", 1_250_000),
        ("2024-05-01 12:00:01", 1_000_000),
        ("2024-05-01T12:00:01.999999Z", 1_999_999),
    ],
)
def test_a_fraction_of_any_length_on_sqlite(sqlite_engine: Engine, end: str, microseconds: int) -> None:
    start = literal(instant("2024-05-01 12:00"), UtcDateTime)
    between = SqliteDurationDialect().microseconds_between(start, literal(end, String))
    with sqlite_engine.connect() as connection:
        assert connection.scalar(select(between)) == microseconds


def test_what_sqlite_stores(sqlite_engine: Engine) -> None:
    """The text that the expression takes apart, with no microseconds too."""
    with sqlite_engine.connect() as connection:
        whole, least = connection.execute(
            select(
                func.lower(literal(instant("2024-05-01 12:00"), UtcDateTime), type_=String),
                func.lower(literal(FIRST, UtcDateTime), type_=String),
            )
        ).one()
    assert (whole, least) == ("2024-05-01 12:00:00.000000", "0001-01-01 00:00:00.000000")


def test_the_strategy_for_each_dialect() -> None:
    assert isinstance(duration_dialect_for("sqlite"), SqliteDurationDialect)
    assert isinstance(duration_dialect_for("postgresql"), PostgresDurationDialect)


@pytest.mark.parametrize("name", ["mysql", "oracle", "", "SQLite"])
def test_a_dialect_without_a_strategy_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedDialect, match=f"{name!r}.*postgresql, sqlite") as refused:
        duration_dialect_for(name)
    assert refused.value.dialect == name
    assert refused.value.supported == ("postgresql", "sqlite")
