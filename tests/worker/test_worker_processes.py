"""Workers as processes: each job takes effect once, even if processes are killed."""

import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.jobs import job_of, jobs_of, queue_jobs, statuses
from support.processes import worker_process
from support.rows import writing
from support.waiting import wait_for
from support.worker_process import EFFECTS

pytestmark = pytest.mark.slow

JOBS = 10_000


@pytest.fixture
def effects(engine: Engine) -> Engine:
    """The engine, with a table for effects."""
    with writing(engine) as session:
        session.execute(text(EFFECTS))
    return engine


def effects_by_job(engine: Engine) -> Counter[str]:
    with Session(engine) as session:
        return Counter(session.scalars(text("SELECT job_id FROM effects")))


def test_each_of_10_000_jobs_takes_effect_exactly_once(
    effects: Engine, database_url: str, tmp_path: Path
) -> None:
    """8 workers in 4 processes on PostgreSQL, 4 in 4 on SQLite."""
    workers = 2 if effects.dialect.name == "postgresql" else 1
    ids = [str(job_id) for job_id in queue_jobs(effects, "effect", JOBS)]
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(worker_process(tmp_path, database_url, workers))
        wait_for(lambda: statuses(effects).keys() == {"completed"}, patience_s=240)
    assert effects_by_job(effects) == Counter(ids)
    assert {job.attempt for job in jobs_of(effects)} == {1}


def test_killed_workers_leave_no_job_undone_and_none_done_twice(
    effects: Engine, database_url: str, tmp_path: Path
) -> None:
    ids = [str(job_id) for job_id in queue_jobs(effects, "effect", 300, seconds=0.01)]
    for kills in range(6):
        done = kills * 20
        with worker_process(tmp_path, database_url, WORKER_LEASE_TIMEOUT="1"):
            wait_for(lambda done=done: statuses(effects)["completed"] >= done)  # type: ignore[misc]  # a default binds it
    with worker_process(tmp_path, database_url, WORKER_LEASE_TIMEOUT="1"):
        wait_for(lambda: statuses(effects).keys() == {"completed"})
    assert effects_by_job(effects) == Counter(ids)


def test_a_worker_stopped_past_its_lease_changes_nothing_when_it_goes_on(
    effects: Engine, database_url: str, tmp_path: Path
) -> None:
    [job_id] = queue_jobs(effects, "effect", seconds=1.0)
    with worker_process(tmp_path, database_url, WORKER_LEASE_TIMEOUT="1") as late:
        wait_for(lambda: job_of(effects, job_id).status == "running")
        with writing(effects) as session:  # so that it holds no lock while it is stopped
            session.execute(text("SELECT 1"))
            late.send_signal(signal.SIGSTOP)
        with worker_process(tmp_path, database_url, WORKER_LEASE_TIMEOUT="1"):
            wait_for(lambda: job_of(effects, job_id).status == "completed")
            settled = job_of(effects, job_id)
            late.send_signal(signal.SIGCONT)
            time.sleep(2.0)
    after = job_of(effects, job_id)
    assert (after.attempt, after.updated_at) == (2, settled.updated_at)
    with Session(effects) as session:
        assert session.execute(text("SELECT job_id, attempt FROM effects")).all() == [(str(job_id), 2)]


def test_sigterm_with_100_jobs_in_flight(engine: Engine, database_url: str, tmp_path: Path) -> None:
    """No claim once it was asked to stop; out within the grace time; nothing left running."""
    queue_jobs(engine, "sleep", 100, seconds=600)
    queue_jobs(engine, "sleep", 100, priority=-1, seconds=600)
    grace = {"WORKER_CONCURRENCY": "100", "WORKER_SHUTDOWN_TIMEOUT": "2"}
    with worker_process(tmp_path, database_url, 1, **grace) as process:
        wait_for(lambda: statuses(engine)["running"] == 100)
        process.terminate()
        asked = time.monotonic()
        time.sleep(1.0)
        attempts = sum(job.attempt for job in jobs_of(engine))
        assert process.wait(timeout=30) == 0
        took_s = time.monotonic() - asked
    assert statuses(engine) == {"queued": 200}
    assert sum(job.attempt for job in jobs_of(engine)) == attempts == 100
    assert took_s < 15, "a hang, however busy the machine is"


def test_a_second_signal_ends_at_once(engine: Engine, database_url: str, tmp_path: Path) -> None:
    queue_jobs(engine, "sleep", seconds=600)
    with worker_process(tmp_path, database_url, WORKER_SHUTDOWN_TIMEOUT="600") as process:
        wait_for(lambda: statuses(engine)["running"] == 1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 128 + signal.SIGINT


def test_a_handler_that_won_t_end_doesn_t_keep_the_process(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    queue_jobs(engine, "stubborn", seconds=600)
    with worker_process(tmp_path, database_url, WORKER_SHUTDOWN_TIMEOUT="1") as process:
        wait_for(lambda: statuses(engine)["running"] == 1)
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert statuses(engine) == {"queued": 1}
