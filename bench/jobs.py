"""No-op jobs on PostgreSQL with fsync: the worker against a manual loop, procrastinate and SAQ.

Each contestant has one worker process; they run one at a time, on one server with its data on disk.
Every contestant starts with its jobs queued, and its rate counts from the worker's start until the
last job is finished. The worker gives all its guarantees and runs with the default settings. The
manual loop claims one job, runs it and completes it, with two commits and no lease. The others run
with their defaults (procrastinate one job at a time, SAQ ten).

    python bench/jobs.py [--jobs 5000] [--rounds 3] [--only ours by-hand procrastinate saq]
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _setup import postgres_server
from sqlalchemy import create_engine, text


def fresh_database(url: str, name: str) -> str:
    """Create an empty database on the server; return its URL in libpq's form."""
    from sqlalchemy import make_url

    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW fsync")) == "on"
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
        connection.execute(text("CHECKPOINT"))
    engine.dispose()
    return make_url(url).set(drivername="postgresql", database=name).render_as_string(hide_password=False)


# --- the contestants: jobs a second ---------------------------------------------------------------


def ours(url: str, jobs: int) -> float:
    """Run ``Worker.run`` from the container."""
    from app.config import Settings
    from app.database import ReadSession, WriteSession
    from app.services.jobs.running import RunningJob
    from app.services.storage.repositories.job import JobRepository
    from containers import create_container, running

    async def noop(_: RunningJob) -> None:
        return

    settings = Settings.model_validate({"database": {"url": url}, "embedding": {"provider": "deterministic"}})
    container = create_container(settings, qdrant_client=None, handlers={"noop": noop})

    def queue(session: WriteSession) -> None:
        for number in range(jobs):
            JobRepository(session).create("noop", {"n": number})

    def left(session: ReadSession) -> int:
        return session.scalar(text("SELECT count(*) FROM jobs WHERE status <> 'completed'")) or 0

    async def run() -> float:
        await container.database().write(queue)
        worker = container.worker()
        started = time.perf_counter()
        working = asyncio.create_task(worker.run())
        while await container.database().read(left):  # noqa: ASYNC110 - a real client would poll too
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - started
        worker.stop()
        await working
        return jobs / seconds

    with running(container, migrate=True):
        return asyncio.run(run())


def by_hand(url: str, jobs: int) -> float:
    """Run the obvious loop: claim a job, run it, complete it."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE jobs (id serial PRIMARY KEY, status text, created_at timestamptz)")
        )
        connection.execute(text("CREATE INDEX ON jobs (created_at) WHERE status = 'queued'"))
        rows = text("INSERT INTO jobs (status, created_at) SELECT 'queued', now() FROM generate_series(1, :n)")
        connection.execute(rows, {"n": jobs})
    claim = text(
        "UPDATE jobs SET status = 'running' WHERE id = (SELECT id FROM jobs WHERE status = 'queued' "
        "ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id"
    )
    complete = text("UPDATE jobs SET status = 'completed' WHERE id = :id")
    started = time.perf_counter()
    while True:
        with engine.begin() as connection:
            job = connection.scalar(claim)
        if job is None:
            return jobs / (time.perf_counter() - started)
        with engine.begin() as connection:
            connection.execute(complete, {"id": job})


def procrastinate(url: str, jobs: int) -> float:
    """Run procrastinate's worker, which ends when the queue is empty."""
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=url))

    async def noop(n: int) -> None:
        del n

    # Not a decorator: for mypy, it is untyped unless `make bench` has installed it.
    task: Any = app.task(name="noop")(noop)

    async def run() -> float:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            given: list[Any] = [{"n": number} for number in range(jobs)]
            await task.batch_defer_async(*given)
            started = time.perf_counter()
            await app.run_worker_async(wait=False, install_signal_handlers=False)
            return jobs / (time.perf_counter() - started)

    return asyncio.run(run())


def saq(url: str, jobs: int) -> float:
    """Run SAQ's worker on its PostgreSQL queue."""
    from saq import Queue, Worker

    async def noop(_: object, *, n: int) -> None:
        del n

    async def run() -> float:
        queue = Queue.from_url(url)
        await queue.connect()
        for number in range(jobs):
            await queue.enqueue("noop", n=number)
        worker: Any = Worker(queue, functions=[("noop", noop)])
        started = time.perf_counter()
        working = asyncio.create_task(worker.start())
        while await queue.count("incomplete"):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - started
        await worker.stop()
        working.cancel()
        await queue.disconnect()
        return jobs / seconds

    return asyncio.run(run())


CONTESTANTS = {"ours": ours, "by-hand": by_hand, "procrastinate": procrastinate, "saq": saq}
AIMS = {"by-hand": 1.5, "procrastinate": 5.0, "saq": 2.0}


def main() -> None:
    """Take turns, and print medians and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--run", nargs=2, metavar=("NAME", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        name, url = arguments.run
        print(CONTESTANTS[name](url, arguments.jobs))
        return
    rates: dict[str, list[float]] = {name: [] for name in arguments.only}
    with tempfile.TemporaryDirectory() as folder, postgres_server(Path(folder)) as url:
        for _ in range(arguments.rounds):
            for name in arguments.only:
                database = fresh_database(url, f"bench_{name}")
                command = [sys.executable, __file__, "--jobs", str(arguments.jobs), "--run", name, database]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
                rates[name].append(float(done.stdout))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    for name, rate in medians.items():
        aim = f" (aim {AIMS[name]:g})" if name in AIMS else ""
        ratio = f", ours is {medians['ours'] / rate:4.1f} x that{aim}" if "ours" in medians else ""
        print(f"{name:14}{rate:8,.0f} jobs/s{ratio if name != 'ours' else ''}")


if __name__ == "__main__":
    main()
