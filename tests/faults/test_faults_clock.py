"""The database's clock jumps by an hour while jobs run: each takes effect once, and none waits."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine
from support.clock import Clock, clock_of
from support.jobs import job_of, jobs_of, queue_jobs, statuses
from support.parts import settings_for
from support.rows import make_project, writing
from support.waiting import PATIENCE_S, until

from app.database import WriteSession
from app.domain.ids import JobId
from app.services.jobs.running import Done, RunningJob
from app.services.storage.repositories.lease import LeaseRepository
from containers import Container, create_container, running

pytestmark = pytest.mark.slow

HOUR_S = 3_600.0
DEAD_LEASE_S = 60.0


@pytest.fixture
def clock(engine: Engine) -> Iterator[Clock]:
    with clock_of(engine) as clock:
        yield clock


class Handler:
    """Runs jobs that end when the test lets them; each makes a project as its effect."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def __call__(self, job: RunningJob) -> Done:
        """Wait, and then take effect: a second time would change the count of effects."""
        await self.release.wait()
        return Done(effect=lambda session: note(session, job))


def note(session: WriteSession, job: RunningJob) -> None:
    make_project(session, f"{job.id}-{job.attempt}")


@asynccontextmanager
async def working(container: Container) -> AsyncIterator[None]:
    worker = container.worker()
    task = asyncio.create_task(worker.run())
    yield
    worker.stop()
    await asyncio.wait_for(task, PATIENCE_S)


@pytest.mark.parametrize("shift_s", [-HOUR_S, HOUR_S], ids=["back", "forward"])
async def test_the_clock_jumps_an_hour_while_jobs_run(
    engine: Engine, clock: Clock, tmp_path: Path, shift_s: float
) -> None:
    handler = Handler()
    quick = {"lease_timeout": 0.3, "poll_interval": 0.05, "concurrency": 2}
    settings = settings_for(tmp_path, worker=quick)
    with running(create_container(settings, engine=engine, handlers={"note": handler})) as container:
        [dead] = queue_jobs(engine, "note", priority=2)
        with writing(engine) as session:  # by a worker that is never heard of again
            LeaseRepository(session).claim(["note"], limit=1, lease_s=DEAD_LEASE_S)
        held = queue_jobs(engine, "note", 2, priority=1)
        waiting = queue_jobs(engine, "note", 2)
        async with working(container):
            await until(lambda: statuses(engine)["running"] == 3)
            clock.set(shift_s)
            [late] = queue_jobs(engine, "note")
            await until(lambda: all(left_s(engine, each, late) < DEAD_LEASE_S for each in held))
            handler.release.set()
            async with working(container):  # one that starts puts the jobs in order, as each does now and then
                done = {*held, *waiting, late} | ({dead} if shift_s > 0 else set())
                await until(lambda: done <= {job.id for job in jobs_of(engine) if job.status == "completed"})
        assert left_s(engine, dead, late) <= DEAD_LEASE_S + PATIENCE_S
        projects = sorted(project.name for project in await container.projects().list())
        attempts = {job.id: job.attempt for job in jobs_of(engine)}
    assert projects == sorted(f"{each}-{attempts[each]}" for each in done)


def left_s(engine: Engine, job_id: JobId, asked: JobId) -> float:
    """For how long the job's lease runs after the other one was queued."""
    lease = job_of(engine, job_id).lease_expires_at
    return abs((lease - job_of(engine, asked).created_at).total_seconds()) if lease else 0.0
