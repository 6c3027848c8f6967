"""Lanes that requests keep full, and callers that leave: what has begun is brought to its end."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from support.jobs import job_of, queue_jobs
from support.parts import settings_for
from support.waiting import until

from app.errors import Saturated
from app.executor import Lane
from app.services.jobs.running import RunningJob
from app.services.storage.repositories.job import CHANNEL
from app.worker.listener import Listener
from containers import create_container, running

pytestmark = pytest.mark.slow


@asynccontextmanager
async def crowded(lane: Lane) -> AsyncIterator[None]:
    """More callers than the lane admits, who come again at once."""
    over = asyncio.Event()

    async def crowd() -> None:
        while not over.is_set():
            try:
                await lane.run(threading.Event().wait, 0.002)
            except Saturated:
                await asyncio.sleep(0)

    callers = [asyncio.create_task(crowd()) for _ in range(lane.max_waiting + lane.limit + 2)]
    try:
        await until(lambda: lane.stats().rejected)
        yield
    finally:
        over.set()
        await asyncio.gather(*callers)


async def test_jobs_go_on(tmp_path: Path) -> None:
    async def handler(job: RunningJob) -> None:
        for batch in range(5):
            await job.report(done=batch + 1)

    settings = settings_for(tmp_path, executor={"database_limit": 1, "max_waiting": 2})
    with running(create_container(settings, handlers={"note": handler})) as container:
        ids = queue_jobs(container.engine(), "note", 5)
        worker = container.worker()
        async with crowded(container.database_lane()):
            working = asyncio.create_task(worker.run())
            await until(lambda: all(job_of(container.engine(), each).completed_at for each in ids))
            worker.stop()
            await working
        jobs = [job_of(container.engine(), each) for each in ids]
    assert {(job.status, job.attempt, job.failures, job.done) for job in jobs} == {("completed", 1, 0, 5)}


async def test_a_call_that_ends_what_has_begun_is_not_refused(make_lane: Callable[..., Lane]) -> None:
    lane = make_lane("narrow", limit=1, max_waiting=1)
    async with crowded(lane):
        for number in range(20):
            assert await lane.run(lambda number: number, number, exempt_from_max_waiting=True) == number
    with pytest.raises(Saturated):
        await asyncio.gather(*(lane.run(threading.Event().wait, 0.01) for _ in range(3)))


async def test_a_listener_that_leaves_while_it_connects_leaves_no_connection(
    postgres_engine: Engine, make_lane: Callable[..., Lane]
) -> None:
    """A connection that is forgotten warns, which is a failure."""
    lane = make_lane("database", limit=8)
    for _ in range(50):
        listening = asyncio.create_task(Listener(postgres_engine, lane, CHANNEL, lambda: None).run())
        await asyncio.sleep(random.uniform(0.0, 0.02))  # noqa: S311 - a moment, no secret
        listening.cancel()
        await asyncio.wait((listening,))
    await until(lambda: not lane.stats().active)
    count = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    with postgres_engine.connect() as connection:
        await until(lambda: connection.execution_options(isolation_level="AUTOCOMMIT").scalar(count) == 0)
