"""Jobs for tests of workers: queue them, look at them, wait for them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.domain.ids import JobId
from app.models import Job
from app.services.storage.repositories.job import JobRepository
from support.rows import writing

PATIENCE_S = 60.0
"""A hang, however busy the machine is."""


def queue_jobs(engine: Engine, job_type: str, count: int = 1, priority: int = 0, **payload: Any) -> list[JobId]:
    """Queue that many jobs in one transaction."""
    with writing(engine) as session:
        jobs = JobRepository(session)
        return [jobs.create(job_type, payload, priority) for _ in range(count)]


def jobs_of(engine: Engine) -> list[Job]:
    """Every job, the oldest first."""
    with Session(engine) as session:
        return list(session.scalars(select(Job).order_by(Job.created_at)))


def job_of(engine: Engine, job_id: JobId) -> Job:
    """One job."""
    with Session(engine) as session:
        return JobRepository(session).get(job_id)


def statuses(engine: Engine) -> Counter[str]:
    """How many jobs there are in each status."""
    with Session(engine) as session:
        return Counter(session.scalars(select(Job.status)))


def wait_for(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Block until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Let the event loop run until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.01)
