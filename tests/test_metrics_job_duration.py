"""Durations of completed jobs by type, on every dialect."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, insert, text

from app.database import Database
from app.domain.jobs import JobStatus
from app.executor import Lane
from app.models import Job
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import SqliteDurationDialect, duration_dialect_for
from app.services.metrics.snapshot import JobDurationStats

pytestmark = pytest.mark.contract

START = datetime(2024, 2, 28, 23, 59, 59, 999_500, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

MakeLane = Callable[..., Lane]


@pytest.fixture
def collector(database: Database) -> MetricsCollector:
    return MetricsCollector(database, duration_dialect_for(database.dialect))


def job(duration: timedelta = timedelta(0), **values: object) -> dict[str, object]:
    completed: dict[str, object] = {
        "type": "embed",
        "status": JobStatus.COMPLETED,
        "started_at": START,
        "completed_at": START + duration,
    }
    return completed | values


async def store(database: Database, jobs: Sequence[dict[str, object]]) -> None:
    await database.write(lambda session: session.execute(insert(Job), jobs))


def expected(durations: Sequence[timedelta]) -> JobDurationStats:
    return JobDurationStats(
        avg_seconds=sum(durations, timedelta(0)) // MICROSECOND / (len(durations) * 10**6),
        min_seconds=min(durations).total_seconds(),
        max_seconds=max(durations).total_seconds(),
        count=len(durations),
    )


class TestJobDurationMetrics:
    async def test_calculates_avg_duration(self, database: Database, collector: MetricsCollector) -> None:
        await store(database, [job(timedelta(seconds=seconds)) for seconds in (10, 20, 30)])

        assert await collector._job_duration_by_type() == {
            "embed": JobDurationStats(avg_seconds=20.0, min_seconds=10.0, max_seconds=30.0, count=3)
        }

    async def test_handles_no_completed_jobs(self, database: Database, collector: MetricsCollector) -> None:
        assert await collector._job_duration_by_type() == {}

        unfinished = [status for status in JobStatus if status is not JobStatus.COMPLETED]
        await store(database, [job(timedelta(seconds=1), status=status) for status in unfinished])

        assert await collector._job_duration_by_type() == {}

    async def test_groups_by_job_type(self, database: Database, collector: MetricsCollector) -> None:
        durations = {
            "embed": [timedelta(microseconds=1), timedelta(milliseconds=999.5)],
            "reindex": [timedelta(hours=25, microseconds=7)],
            "a customer's own, 名前": [timedelta(0)],
        }
        await store(
            database, [job(each, type=job_type) for job_type in durations for each in durations[job_type]]
        )

        assert await collector._job_duration_by_type() == {
            job_type: expected(each) for job_type, each in durations.items()
        }

    @pytest.mark.parametrize(
        "missing",
        [{"started_at": None}, {"completed_at": None}, {"started_at": None, "completed_at": None}],
        ids=["started", "completed", "both"],
    )
    async def test_excludes_jobs_without_timestamps(
        self, database: Database, collector: MetricsCollector, missing: dict[str, None]
    ) -> None:
        await store(database, [job(timedelta(seconds=9)), job() | missing, job(type="reindex") | missing])

        assert await collector._job_duration_by_type() == {"embed": expected([timedelta(seconds=9)])}


@pytest.mark.slow
async def test_the_average_is_exact_to_the_last_bit(database: Database, collector: MetricsCollector) -> None:
    durations = [timedelta(microseconds=1 + 999_999_937 * n % 86_400_000_007) for n in range(5_000)]
    await store(database, [job(duration) for duration in durations])

    assert await collector._job_duration_by_type() == {"embed": expected(durations)}


async def test_a_clock_put_back_gives_a_negative_duration(
    database: Database, collector: MetricsCollector
) -> None:
    durations = [timedelta(microseconds=-1), timedelta(days=-400, microseconds=3), timedelta(seconds=2)]
    await store(database, [job(duration) for duration in durations])

    assert await collector._job_duration_by_type() == {"embed": expected(durations)}


async def test_durations_whose_microseconds_exceed_64_bits_together(
    database: Database, collector: MetricsCollector
) -> None:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    await store(database, [job(started_at=first, completed_at=last)] * 40)

    assert await collector._job_duration_by_type() == {"embed": expected([last - first] * 40)}


async def test_asks_one_statement(engine: Engine, collector: MetricsCollector) -> None:
    sent: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda _connection, _cursor, statement, *_: sent.append(statement)
    )

    await collector._job_duration_by_type()

    assert len([statement for statement in sent if "jobs" in statement]) == 1


async def test_sqlite_computes_each_duration_once(sqlite_engine: Engine, make_lane: MakeLane) -> None:
    """Not once for the sum, once for the least and once for the greatest."""
    calls: list[str] = []

    def julianday(timestamp: str) -> float:
        calls.append(timestamp)
        return 2_460_000.5

    event.listen(
        sqlite_engine,
        "connect",
        lambda connection, _: connection.create_function("julianday", 1, julianday),
    )
    database = Database(sqlite_engine, make_lane("database"))
    await store(database, [job(timedelta(seconds=second)) for second in range(10)])

    await MetricsCollector(database, SqliteDurationDialect())._job_duration_by_type()

    assert len(calls) == 2 * 10


async def test_a_timestamp_that_sqlite_cannot_read_is_left_out(
    sqlite_engine: Engine, make_lane: MakeLane
) -> None:
    database = Database(sqlite_engine, make_lane("database"))
    await store(database, [job(timedelta(seconds=1)), job(timedelta(seconds=2), type="reindex")])
    spoil = text("UPDATE jobs SET started_at = 'long ago' WHERE type = 'embed'")
    await database.write(lambda session: session.execute(spoil))

    durations = await MetricsCollector(database, SqliteDurationDialect())._job_duration_by_type()

    assert durations == {"reindex": expected([timedelta(seconds=2)])}
