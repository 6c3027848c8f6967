"""A worker stops in time even while its database says nothing."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url
from support.jobs import queue_jobs
from support.proxy import Proxy, to_unix
from support.waiting import PATIENCE_S, until

from app.config import Settings
from app.services.jobs.running import RunningJob
from containers import create_container, running


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(to_unix(f"{make_url(postgres_url).query['host']}/.s.PGSQL.5432")) as proxy:
        yield proxy


@pytest.mark.slow
async def test_stopping_does_not_wait_for_a_silent_database(
    proxy: Proxy, postgres_url: str, postgres_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither for a claim nor for a settlement that isn't answered, until the kernel's timeout."""
    started = asyncio.Event()

    async def sleep(_: RunningJob) -> None:
        started.set()
        await asyncio.sleep(PATIENCE_S)

    queue_jobs(postgres_engine, "sleep")
    given = {
        "database": {"url": f"postgresql://postgres@127.0.0.1:{proxy.port}/{make_url(postgres_url).database}"},
        "qdrant": {"mode": "memory"},
        "worker": {"poll_interval": 0.02, "shutdown_timeout": 0.2},
    }
    settings = Settings.model_validate(given)
    with running(create_container(settings, handlers={"sleep": sleep})) as container:
        worker, lane = container.worker(), container.database_lane()
        working = asyncio.create_task(worker.run())
        await asyncio.wait_for(started.wait(), PATIENCE_S)
        proxy.hang()
        await asyncio.sleep(0.1)  # so that what is under way now isn't taken for it
        await until(lambda: lane.stats().active)
        worker.stop()
        async with asyncio.timeout(20):
            await working
        proxy.go_away()
    claiming, settling = (record.message for record in caplog.records if record.levelno >= logging.WARNING)
    assert claiming.startswith("the database gave no answer until the end")
    assert settling.startswith("can't settle 1 jobs, which will run again: ")
