"""Projects, metrics, and what looks after the index, over the HTTP API of a running service."""

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
        """The projects by name, with their counts."""
        found: ProjectSummaries = []
        async for page in pages_of(self._service, _PROJECTS, {}, None):
            found += read_as(_PROJECTS, lambda page: [_project(each) for each in page["items"]], page)
        return found

    async def delete(self, name: str) -> Deleted:
        """Delete a project with all it holds; the service's jobs delete its vectors."""
        path = project_path(name)
        deleted = read_as(path, deleted_of, await self._service.delete(path))
        self._queued.extend(deleted.job_ids)
        return deleted


@dataclass(frozen=True, slots=True)
class RemoteMeasurements:
    """What a service measured, as it told it."""

    told: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """See :meth:`app.services.metrics.snapshot.Metrics.as_dict`."""
        return self.told


@dataclass(frozen=True, slots=True)
class RemotePart:
    """How a part of the service answered it: ``error`` is None when it is well."""

    part: str
    latency_seconds: float
    error: str | None


class RemoteMetrics:
    """The service's metrics; see :class:`app.services.metrics.collector.MetricsCollector`."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def collect(self) -> RemoteMeasurements:
        """Everything, with the pool and the lanes of the service."""
        path = "/v1/metrics"
        return RemoteMeasurements(read_as(path, dict, await self._service.get(path)))


class RemoteReconciliation:
    """Has the service compare its stores; see :class:`app.services.reconciliation.ReconciliationService`."""

    def __init__(self, service: Connection, jobs: RemoteJobs, silent_s: float) -> None:
        self._service = service
        self._jobs = jobs
        self._silent_s = silent_s

    async def run(self, *, repair: bool = False) -> AsyncIterator[Differences]:
        """Queue the job and follow it: how many were compared so far, and at the end what differs.

        Raises:
            JobFailed, JobCancelled, JobStalled: as of :meth:`RemoteJobs.outcome`.
        """
        path = "/v1/verify"
        job = read_as(path, job_of, await self._service.post(path, {"repair": repair}))
        with _told_if_left(job.id):
            async for row in self._jobs.follow(job, self._silent_s):
                yield Differences(extractions=row.done)
                job = row
        yield read_as(path, Differences.from_dict, self._jobs.outcome(job))


class RemoteReindexing:
    """Has the service rebuild its index; see :class:`app.services.reindexing.ReindexingService`."""

    def __init__(self, service: Connection, jobs: RemoteJobs, silent_s: float) -> None:
        self._service = service
        self._jobs = jobs
        self._silent_s = silent_s

    async def total(self) -> int | None:
        """Nobody knows before the job has begun."""
        return None

    async def run(self) -> AsyncIterator[Indexed]:
        """Queue the job and follow it, yielding what was done since; the last also says what was set aside and cut.

        Raises:
            JobFailed, JobCancelled, JobStalled: as of :meth:`RemoteJobs.outcome`.
        """
        path = "/v1/reindex"
        job = read_as(path, job_of, await self._service.post(path))
        told = 0
        with _told_if_left(job.id):
            async for row in self._jobs.follow(job, self._silent_s):
                yield Indexed(row.done - told)
                told, job = row.done, row
        done = read_as(path, _indexed, self._jobs.outcome(job))
        yield Indexed(done.indexed - told, done.set_aside, done.cut)


class RemoteHealth:
    """How the service is; see :class:`app.services.health.Health`."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def check(self, timeout_s: float) -> list[RemotePart]:
        """What the service says of each of its parts; none of them says more than the service's log.

        Raises:
            ServiceUnavailable, ServiceError: it doesn't answer, or something else does.
        """
        path = "/health/ready"
        answer = await self._service.look(path, timeout_s)
        return read_as(path, lambda ready: [_part(each) for each in ready["parts"]], answer)


@contextmanager
def _told_if_left(job_id: JobId) -> "Iterator[None]":
    """Whoever interrupts the command learns that the job goes on."""
    try:
        yield
    except asyncio.CancelledError:
        note(f"The service goes on with it: `agent-storage jobs cancel {job_id}` stops it.")
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
