"""A scrape of a container in which every measured event has happened, and a parser for scrapes."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from app.database import WriteSession
from app.domain.jobs import JobStatus
from app.domain.search import Query
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.lease import LeaseRepository, Settlement
from containers import Container
from support.parts import make_item, open_container

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def run_jobs(session: WriteSession, job_type: str, status: JobStatus, count: int = 1) -> None:
    """Queue, claim and settle ``count`` jobs of a type that has no others."""
    for _ in range(count):
        JobRepository(session).create(job_type, {})
    leases = LeaseRepository(session)
    claimed = leases.claim([job_type], limit=count, lease_s=60.0)
    assert len(leases.settle([Settlement(job.id, job.attempt, status) for job in claimed])) == count


async def make_busy(container: Container) -> None:
    """Cause at least one event of each measured kind."""
    await container.indexing().prepare()
    await container.ingestion().accept("papers", [make_item(number) for number in range(3)])
    await container.search().search(Query("river"))
    for status in (JobStatus.COMPLETED, JobStatus.FAILED):
        await container.database().write(partial(run_jobs, job_type="tidy", status=status))
    container.instruments().job("tidy", "completed", 0.2)
    container.instruments().http("GET", "/v1/jobs/{id}", 200, 0.01)


async def scrape(container: Container, *, stores: bool = True) -> str:
    body, _ = await container.metrics_exporter().render(stores=stores)
    return body.decode()


def busy_exposition(folder: Path) -> str:
    """The metrics that a process with the stores exports."""

    async def run(container: Container) -> str:
        await make_busy(container)
        return await scrape(container)

    with open_container(folder) as container:
        return asyncio.run(run(container))


def samples(exposition: str) -> Samples:
    """Parse every sample, by its name and its labels."""
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found
