"""The SQL queries of a scrape with few and with many ended jobs, beside the exact snapshot.

    python bench/scrape.py [--few 10000] [--jobs 10000000] [--open 1000] [--repeats 30]
                           [--dialects sqlite postgresql]

Both databases have the same number of open jobs. Times are medians; the ratio of `sample()` has to
be 3 at most. Ten million jobs take some minutes and 4 GB in the directory for temporary files, for
each dialect.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from _setup import ENGINES, lane
from sqlalchemy import Engine, insert, text

from app.database import Database
from app.models import JobTotal
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import MICROSECONDS, duration_dialect_for
from app.services.metrics.snapshot import Metrics
from app.sql.transactions import begin_write

MOST = 3.0
COLUMNS = """id, type, status, priority, attempt, created_at, updated_at, started_at, completed_at, payload, run_at,
 failures, lapses, done"""
TYPE = "CASE n % 4 WHEN 0 THEN 'embed' WHEN 1 THEN 'verify' WHEN 2 THEN 'repair' ELSE 'delete_vectors' END"
ENDED = "CASE WHEN n % 100 < 95 THEN 'completed' WHEN n % 100 < 99 THEN 'failed' ELSE 'cancelled' END"
OPEN = "CASE WHEN n % 10 = 0 THEN 'running' ELSE 'queued' END"
SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM series WHERE n < {last})",
    "postgresql": "WITH series AS (SELECT n FROM generate_series({first}, {last}) AS n)",
}
ID = {
    "sqlite": "printf('%08x-0000-4000-8000-%012x', n / 65536, n)",
    "postgresql": "CAST(lpad(to_hex(n), 32, '0') AS uuid)",
}
MOMENT = {  # a job a second, each of which takes up to 100 seconds
    "sqlite": "datetime(1600000000 + {seconds}, 'unixepoch') || '.000000'",
    "postgresql": "to_timestamp(1600000000 + {seconds})",
}


def inserting(dialect: str, first: int, last: int, *, ended: bool) -> str:
    """The statement that inserts a job for each number from ``first`` to ``last``."""
    created, completed = (MOMENT[dialect].format(seconds=seconds) for seconds in ("n", "n + n % 100"))
    series = SERIES[dialect].format(first=first, last=last)
    values = (
        f"{ID[dialect]}, {TYPE}, {ENDED if ended else OPEN}, 0, 1, {created}, {created}, {created}, "
        f"{completed if ended else 'NULL'}, '{{}}', {created}, 0, 0, 0"
    )
    return f"INSERT INTO jobs ({COLUMNS}) {series} SELECT {values} FROM series"  # noqa: S608 - only constants of this file


def insert_jobs(engine: Engine, first: int, last: int, *, ended: bool) -> None:
    """Insert jobs in one transaction."""
    with begin_write(engine) as connection:
        connection.execute(text(inserting(engine.dialect.name, first, last, ended=ended)))


def fill_totals(engine: Engine, exact: Metrics) -> None:
    """Insert the totals that the jobs would have been counted into if the worker had run them."""
    rows = []
    for (job_type, status), jobs in exact.jobs.items():
        if status in {"queued", "running", "cancelling"}:
            continue
        row = {"type": job_type, "status": status, "jobs": jobs, "timed": 0, "microseconds": 0}
        if status == "completed":
            stats = exact.job_durations[job_type]
            row |= {
                "timed": stats.count,
                "microseconds": round(stats.avg_seconds * stats.count * MICROSECONDS),
                "least": round(stats.min_seconds * MICROSECONDS),
                "greatest": round(stats.max_seconds * MICROSECONDS),
            }
        rows.append({"least": None, "greatest": None} | row)
    with begin_write(engine) as connection:
        connection.execute(insert(JobTotal), rows)


async def median(ask: Callable[[], Awaitable[object]], repeats: int) -> float:
    """The median duration, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


async def measure(engine: Engine, jobs: int, repeats: int) -> tuple[float, float]:
    """The median durations of ``sample()`` and ``collect()``, whose results have to agree."""
    with lane("database") as its_lane:
        database = Database(engine, its_lane)
        collector = MetricsCollector(database, duration_dialect_for(database.dialect))
        exact = await collector.collect()
        fill_totals(engine, exact)
        sample = await collector.sample()
        counted = {(each.type, str(each.status)): each.jobs for each in sample.totals} | dict(sample.open_jobs)
        assert counted == exact.jobs
        assert sum(each.jobs for each in sample.totals) == jobs
        return await median(collector.sample, repeats), await median(collector.collect, 3)


def run(dialect: str, jobs: int, still_open: int, repeats: int) -> tuple[float, float]:
    """Fill a database and measure on it."""
    with (
        tempfile.TemporaryDirectory(prefix="scrape-") as folder,
        ENGINES[dialect](Path(folder)) as engine,
    ):
        started = time.perf_counter()
        insert_jobs(engine, 1, jobs, ended=True)
        insert_jobs(engine, jobs + 1, jobs + still_open, ended=False)
        if dialect == "postgresql":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("VACUUM ANALYZE jobs"))
        print(
            f"{dialect:12}{jobs:>12,} ended jobs inserted in {time.perf_counter() - started:.0f} s", flush=True
        )
        return asyncio.run(measure(engine, jobs, repeats))


def main() -> None:
    """Print the ratios; exit 1 if one is too high."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--open", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--dialects", nargs="+", choices=sorted(ENGINES), default=sorted(ENGINES))
    arguments = parser.parse_args()
    failed = False
    for dialect in arguments.dialects:
        few = run(dialect, arguments.few, arguments.open, arguments.repeats)
        many = run(dialect, arguments.jobs, arguments.open, arguments.repeats)
        for name, at_few, at_many in zip(("sample()", "collect()"), few, many, strict=True):
            print(
                f"{dialect:12}{name:12}{at_few * 1e3:10.2f} ms{at_many * 1e3:12.2f} ms{at_many / at_few:10.2f} x"
            )
        failed |= many[0] > MOST * few[0]
    raise SystemExit(f"a scrape costs more than {MOST:g} x" if failed else 0)


if __name__ == "__main__":
    main()
