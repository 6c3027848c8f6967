"""Helpers to queue and read jobs in tests of workers."""

from collections import Counter
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.domain.ids import JobId
from app.models import Job
from app.services.storage.repositories.job import JobRepository
from support.rows import writing


def queue_jobs(engine: Engine, job_type: str, count: int = 1, priority: int = 0, **payload: Any) -> list[JobId]:
    """Queue ``count`` jobs in one transaction."""
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
