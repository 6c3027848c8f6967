"""Exact durations of a million jobs by type, against the usual inexact query.

    python bench/job_durations.py [--jobs 1000000] [--repeats 7] [--dialects sqlite postgresql]

The queries take turns, ``--repeats`` times, on SQLite and PostgreSQL. Times are medians, ratios are
to the usual query, and the error is the greatest of any average, minimum or maximum against
durations computed in Python.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from _setup import ENGINES, lane
from sqlalchemy import BigInteger, ColumnElement, Engine, Float, cast, func, select, text

from app.database import Database
from app.models import Job
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import (
    MICROSECONDS,
    SqliteDurationDialect,
    Timestamp,
    duration_dialect_for,
)
from app.services.metrics.snapshot import JobDurationStats

TYPES = ("embed", "reindex", "export", "purge")
MEAN_SECONDS = (1, 60, 3_600, 86_400)
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
YEAR_US = 365 * 86_400 * MICROSECONDS
COLUMNS = (
    "id",
    "type",
    "status",
    "priority",
    "payload",
    "attempt",
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
)


Stats = dict[str, JobDurationStats]
Ask = Callable[[], Awaitable[Stats]]


def jobs(count: int) -> Iterator[tuple[Any, ...]]:
    """Completed jobs with the values of ``COLUMNS``; the same ones each time."""
    chance = random.Random(0)  # noqa: S311 - test data, no secret
    for _ in range(count):
        start = FIRST_DAY + timedelta(microseconds=chance.randrange(YEAR_US))
        end = start + timedelta(seconds=chance.expovariate(1 / chance.choice(MEAN_SECONDS)))
        key = uuid.UUID(int=chance.getrandbits(128), version=4)
        yield key, chance.choice(TYPES), "completed", 0, '{"extractions": 1000}', 1, start, end, start, end


def true_durations(count: int) -> Stats:
    """The durations by job type, computed in Python with whole microseconds."""
    by_type: dict[str, list[int]] = {}
    for row in jobs(count):
        by_type.setdefault(row[1], []).append((row[-1] - row[-2]) // timedelta(microseconds=1))
    return {
        job_type: JobDurationStats(
            avg_seconds=sum(each) / (len(each) * MICROSECONDS),
            min_seconds=min(each) / MICROSECONDS,
            max_seconds=max(each) / MICROSECONDS,
            count=len(each),
        )
        for job_type, each in by_type.items()
    }


def fill_sqlite(engine: Engine, count: int) -> None:
    """Insert ``count`` jobs."""
    places = ", ".join("?" * len(COLUMNS))
    raw: Any = engine.raw_connection()
    raw.execute("BEGIN")
    raw.executemany(
        f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({places})",  # noqa: S608 - only constants of this file
        (as_text(row) for row in jobs(count)),
    )
    raw.commit()
    raw.close()


def as_text(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row as SQLite stores it."""
    key, *values, created, updated, started, completed = row
    times = (created, updated, started, completed)
    return str(key), *values, *(moment.strftime("%Y-%m-%d %H:%M:%S.%f") for moment in times)


def fill_postgres(engine: Engine, count: int) -> None:
    """Insert ``count`` jobs, and update the statistics."""
    raw: Any = engine.raw_connection()
    with raw.cursor().copy(f"COPY jobs ({', '.join(COLUMNS)}) FROM STDIN") as copy:
        for row in jobs(count):
            copy.write_row(row)
    raw.commit()
    raw.close()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs"))


FILL = {"sqlite": fill_sqlite, "postgresql": fill_postgres}


class JuliandayDialect(SqliteDurationDialect):
    """SQLite's usual, inexact duration instead of the exact one."""

    def microseconds_between(self, start: Timestamp, end: Timestamp) -> ColumnElement[int]:
        """The duration, up to a millisecond off."""
        days = func.julianday(end, type_=Float) - func.julianday(start, type_=Float)
        return cast(func.round(days * 86_400_000_000, type_=Float), BigInteger)


class UsualCollector:
    """The obvious query: each aggregate over the dialect's own floating-point seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        if database.dialect == "sqlite":
            seconds = (func.julianday(Job.completed_at) - func.julianday(Job.started_at)) * 86_400.0
        else:
            seconds = func.date_part("epoch", Job.completed_at - Job.started_at)
        self._query = (
            select(Job.type, func.avg(seconds), func.min(seconds), func.max(seconds), func.count())
            .where(Job.status == "completed", Job.started_at.is_not(None), Job.completed_at.is_not(None))
            .group_by(Job.type)
        )

    async def durations(self) -> Stats:
        """The durations by job type."""
        return await self._database.read(
            lambda session: {row[0]: JobDurationStats(*row[1:]) for row in session.execute(self._query)}
        )


def ways(database: Database) -> dict[str, Ask]:
    """The queries, by name, the usual one first."""
    exact = MetricsCollector(database, duration_dialect_for(database.dialect))
    found: dict[str, Ask] = {"usual": UsualCollector(database).durations}
    if database.dialect == "sqlite":
        found["julianday, computed once"] = MetricsCollector(database, JuliandayDialect())._job_duration_by_type  # noqa: SLF001 - as below
    return found | {"exact": exact._job_duration_by_type}  # noqa: SLF001 - without the other metrics


async def measure(engine: Engine, truth: Stats, repeats: int) -> None:
    """Print a line for each way."""
    with lane("database") as its_lane:
        asks = ways(Database(engine, its_lane))
        errors = {name: greatest_error(await ask(), truth) for name, ask in asks.items()}
        times: dict[str, list[float]] = {name: [] for name in asks}
        for _ in range(repeats):
            for name, ask in asks.items():
                started = time.perf_counter()
                await ask()
                times[name].append(time.perf_counter() - started)
    base = statistics.median(times["usual"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(
            f"{engine.dialect.name:12}{name:26}{median:8.3f} s{median / base:8.2f} x"
            f"{errors[name] * 1e6:12.3f} us off   ({min(taken):.3f} to {max(taken):.3f} s)"
        )


def greatest_error(found: Stats, truth: Stats) -> float:
    """The greatest error, in seconds."""
    if {name: each.count for name, each in found.items()} != {name: each.count for name, each in truth.items()}:
        raise SystemExit("the jobs were not all found")
    errors: list[float] = [
        abs(one - other)
        for name in truth
        for one, other in zip(astuple(found[name]), astuple(truth[name]), strict=True)
    ]
    return max(errors)


def main() -> None:
    """Fill each database and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dialects", nargs="+", choices=sorted(ENGINES), default=sorted(ENGINES))
    arguments = parser.parse_args()
    truth = true_durations(arguments.jobs)
    print(f"{arguments.jobs:,} completed jobs of {len(truth)} types, medians of {arguments.repeats}")
    for name in arguments.dialects:
        with (
            tempfile.TemporaryDirectory(prefix="job-durations-") as folder,
            ENGINES[name](Path(folder)) as engine,
        ):
            FILL[name](engine, arguments.jobs)
            asyncio.run(measure(engine, truth, arguments.repeats))


if __name__ == "__main__":
    main()
