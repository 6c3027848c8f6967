"""Projects, metrics, health and index maintenance, over the HTTP API of a running service."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.cli.output import note
from app.cli.remote.connection import Connection
from app.cli.remote.paging import pages_of, project_path
from app.cli.remote.reading import deleted_of, read_as
from app.cli.remote.services import RemoteJobs, job_of
from app.domain.ids import JobId, ProjectId
from app.domain.outcomes import Deleted
from app.domain.rows import ProjectSummaries, ProjectSummary
from app.domain.upkeep import Differences, Indexed

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECTS = "/v1/projects"

_Answer = Mapping[str, Any]


class RemoteProjects:
    """The service's projects; see :class:`app.services.projects.ProjectService`."""

    def __init__(self, service: Connection, queued: deque[JobId]) -> None:
        self._service = service
        self._queued = queued

    async def list(self) -> ProjectSummaries:
        """The projects with their counts, ordered by name."""
        found: ProjectSummaries = []
        async for page in pages_of(self._service, _PROJECTS, {}, None):
            found += read_as(_PROJECTS, lambda page: [_project(each) for each in page["items"]], page)
        return found

    async def delete(self, name: str) -> Deleted:
        """Delete a project and its content; the service's jobs delete its vectors."""
        path = project_path(name)
        deleted = read_as(path, deleted_of, await self._service.delete(path))
        self._queued.extend(deleted.job_ids)
        return deleted


@dataclass(frozen=True, slots=True)
class RemoteMeasurements:
    """The metrics of a service, as received."""

    told: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """See :meth:`app.services.metrics.snapshot.Metrics.as_dict`."""
        return self.told


@dataclass(frozen=True, slots=True)
class RemotePart:
    """The health of one part of the service; ``error`` is None if it is healthy."""

    part: str
    latency_seconds: float
    error: str | None


class RemoteMetrics:
    """The service's metrics; see :class:`app.services.metrics.collector.MetricsCollector`."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def collect(self) -> RemoteMeasurements:
        """All metrics, with the service's connection pool and lanes."""
        path = "/v1/metrics"
        return RemoteMeasurements(read_as(path, dict, await self._service.get(path)))


class RemoteReconciliation:
    """Has the service compare its stores.

    See :class:`app.services.reconciliation.ReconciliationService`.
    """

    def __init__(self, service: Connection, jobs: RemoteJobs, silent_s: float) -> None:
        self._service = service
        self._jobs = jobs
        self._silent_s = silent_s

    async def run(self, *, repair: bool = False) -> AsyncIterator[Differences]:
        """Queue the job and follow it; yields the progress, and at last the differences.

        Raises:
            JobFailed, JobCancelled: as in :meth:`RemoteJobs.outcome`.
            JobStalled: as in :meth:`RemoteJobs.follow`.
        """
        path = "/v1/verify"
        job = read_as(path, job_of, await self._service.post(path, {"repair": repair}))
        with _note_if_interrupted(job.id, self._service.url):
            async for row in self._jobs.follow(job, self._silent_s):
                yield Differences(extractions=row.done)
                job = row
        yield read_as(path, Differences.from_dict, self._jobs.outcome(job))


class RemoteReindexing:
    """Has the service rebuild its index.

    See :class:`app.services.reindexing.ReindexingService`.
    """

    def __init__(self, service: Connection, jobs: RemoteJobs, silent_s: float) -> None:
        self._service = service
        self._jobs = jobs
        self._silent_s = silent_s

    async def total(self) -> int | None:
        """None: the total isn't known before the job has begun."""
        return None

    async def run(self) -> AsyncIterator[Indexed]:
        """Queue the job and follow it; yields how many were indexed since the last step.

        A job's progress counts what was set aside too. The last step takes that off the indexed
        ones again, so that the sum of all steps is the job's result.

        Raises:
            JobFailed, JobCancelled: as in :meth:`RemoteJobs.outcome`.
            JobStalled: as in :meth:`RemoteJobs.follow`.
        """
        path = "/v1/reindex"
        job = read_as(path, job_of, await self._service.post(path))
        told = 0
        with _note_if_interrupted(job.id, self._service.url):
            async for row in self._jobs.follow(job, self._silent_s):
                yield Indexed(row.done - told)
                told, job = row.done, row
        done = read_as(path, _indexed, self._jobs.outcome(job))
        yield Indexed(done.indexed - told, done.set_aside, done.cut)


class RemoteHealth:
    """The service's health; see :class:`app.services.health.Health`."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def check(self, timeout_s: float) -> list[RemotePart]:
        """The health of each part of the service; the details of an error are only in its log.

        Raises:
            ServiceUnavailable, ServiceError: the service doesn't answer, or something else does.
        """
        path = "/health/ready"
        answer = await self._service.look(path, timeout_s)
        return read_as(path, lambda ready: [_part(each) for each in ready["parts"]], answer)


@contextmanager
def _note_if_interrupted(job_id: JobId, url: str) -> "Iterator[None]":
    """If the command is interrupted, say that the job continues and how to cancel it."""
    try:
        yield
    except asyncio.CancelledError:
        note(f"The service continues the job; `agent-storage jobs cancel {job_id} --api {url}` stops it.")
        raise


def _indexed(result: _Answer) -> Indexed:
    return Indexed(int(result["indexed"]), int(result["set_aside"]), int(result["cut"]))


def _part(row: _Answer) -> RemotePart:
    error = None if row["ok"] else str(row["error"])
    return RemotePart(str(row["part"]), float(row["latency_seconds"]), error)


def _project(row: _Answer) -> ProjectSummary:
    return ProjectSummary(
        id=ProjectId(UUID(row["id"])),
        name=str(row["name"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        sources=int(row["sources"]),
        extractions=int(row["extractions"]),
        indexed=int(row["indexed"]),
    )
