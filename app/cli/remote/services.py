"""Ingestion, search and jobs of a running service, over its HTTP API."""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.cli.ports import Lines
from app.cli.remote.connection import Connection
from app.cli.remote.filtering import body_of
from app.cli.remote.paging import pages_of, project_path
from app.cli.remote.reading import extraction_of, moment_of
from app.cli.remote.reading import read_as as _read
from app.domain.changes import ChangeKind
from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId
from app.domain.items import Item
from app.domain.jobs import JobFilters, JobRow, JobRows, JobStatus, JobTypeNames, has_ended
from app.domain.outcomes import Accepted, ChangedFact, Counts, Replaced, ReplacedSource
from app.domain.search import Query, Ranked, SearchHit, SearchHits, Twin
from app.domain.sources import ReplaceOptions
from app.errors import JobCancelled, JobFailed, JobStalled, ServiceError

_TOO_LARGE = 413
_LINES_AT_ONCE = 1_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class RemoteIndex:
    """Checks the service; its index is already open there."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def prepare(self, *, repair: bool = False) -> None:  # noqa: ARG002 - the service handles it
        """Check that the service answers and accepts the key, before the command does anything."""
        await self._service.get("/v1/jobs", {"limit": 1})


class RemoteIngestion:
    """Stores extractions, and adds the ids of their index jobs to ``queued``."""

    def __init__(self, service: Connection, queued: deque[JobId]) -> None:
        self._service = service
        self._queued = queued

    async def accept(self, project: str, items: Sequence[Item], *, run_id: RunId | None = None) -> Accepted:
        """As :meth:`IngestionService.accept`; splits a request that is too large in halves."""
        path = f"{project_path(project)}/extractions"
        try:
            return await self._accept(path, items, run_id)
        except ServiceError as error:
            if error.status != _TOO_LARGE or len(items) == 1:
                raise
        half = len(items) // 2
        first = await self.accept(project, items[:half], run_id=run_id)
        second = await self.accept(project, items[half:], run_id=run_id)
        return Accepted(
            first.ids + second.ids,
            first.new | second.new,
            second.job_id or first.job_id,
            first.changed | second.changed,
            first.payload_job_ids + second.payload_job_ids,
            warnings=second.warnings or first.warnings,
        )

    async def replace(
        self,
        project: str,
        lines: Lines,
        options: ReplaceOptions,
        replaced: Callable[[Replaced], Awaitable[None]],
    ) -> None:
        """Send all lines in one request; the service groups them by source."""
        path = f"{project_path(project)}/extractions"
        params = {
            "replace": options.scope.value,
            "run": None if options.run_id is None else str(options.run_id),
            "observed_at": None if options.observed_at is None else options.observed_at.isoformat(),
            "dry_run": options.dry_run,
            "allow_mass_delete": options.allow_mass_delete,
        }
        given = {name: value for name, value in params.items() if value is not None}
        answer = _read(path, _replaced, await self._service.post_lines(path, _bodies(lines), given))
        self._queued.extend(answer.job_ids)
        await replaced(answer)

    async def _accept(self, path: str, items: Sequence[Item], run_id: RunId | None) -> Accepted:
        # If an answer is lost, a retry with the same key gets it.
        answer = await self._service.post(
            path,
            {"extractions": [_handed_in(item) for item in items]},
            headers={"Idempotency-Key": str(uuid.uuid4())},
            params={} if run_id is None else {"run": str(run_id)},
        )
        accepted, jobs = _read(path, _accepted, answer)
        self._queued.extend(jobs)
        return accepted


class RemoteSearch:
    """Searches one project, or all projects."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def search(self, query: Query) -> SearchHits:
        """As :meth:`SearchService.search`."""
        path = "/v1/search" if query.project is None else f"{project_path(query.project)}/search"
        if query.filters.extraction_ids == ():  # the API has no filter that matches nothing
            return await self._none(query.project)
        body = {
            "query": query.text,
            "limit": query.limit,
            "mode": query.mode,
            "offset": query.offset,
            "min_score": query.min_score,
            "collapse": query.collapse,
            **body_of(query.filters),
        }
        return _read(path, _hits, await self._service.post(path, body))

    async def _none(self, project: str | None) -> SearchHits:
        """Return no hits, after checking that the project exists."""
        if project is not None:
            await self._service.get(project_path(project))
        return SearchHits()


class RemoteJobs:
    """The service's jobs; see :class:`app.services.jobs.service.JobService`."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def get(self, job_id: JobId) -> JobRow:
        """One job as it stands."""
        path = f"/v1/jobs/{job_id}"
        return _read(path, job_of, await self._service.get(path))

    async def list(self, filters: JobFilters, *, limit: int = 100) -> JobRows:
        """The newest jobs that pass the filters."""
        path, found = "/v1/jobs", JobRows()
        params = {"type": tuple(filters.types), "status": tuple(filters.statuses), "project": filters.project}
        async for page in pages_of(self._service, path, params, limit):
            found += _read(path, lambda jobs: [job_of(each) for each in jobs["items"]], page)
        return found

    async def cancel(self, job_id: JobId) -> JobRow:
        """Cancel a job; a running one is asked to stop."""
        return await self._step_in(job_id, "cancel")

    async def retry(self, job_id: JobId) -> JobRow:
        """Queue a failed or cancelled job again."""
        return await self._step_in(job_id, "retry")

    async def prune(self, older_than_s: float) -> int:
        """Delete the jobs that ended more than ``older_than_s`` ago; returns how many."""
        path = "/v1/jobs/prune"
        answer = await self._service.post(path, {"older_than_seconds": older_than_s}, repeatable=False)
        return _read(path, lambda pruned: int(pruned["pruned"]), answer)

    async def pause(self, job_type: str) -> None:
        """Stop workers from claiming jobs of this type."""
        await self._service.post(f"/v1/job-types/{quote(job_type, safe='')}/pause")

    async def resume(self, job_type: str) -> None:
        """Let workers claim jobs of this type again."""
        await self._service.post(f"/v1/job-types/{quote(job_type, safe='')}/resume")

    async def paused(self) -> JobTypeNames:
        """The paused job types."""
        path = "/v1/job-types"
        return _read(path, lambda types: [str(each) for each in types["paused"]], await self._service.get(path))

    async def follow(self, row: JobRow, silent_s: float) -> AsyncIterator[JobRow]:
        """Poll a job until it has ended; yields its current state, and then each change.

        Raises:
            JobStalled: the job hasn't changed for ``silent_s``.
        """
        now = asyncio.get_running_loop().time
        changed, pause_s = now(), _FIRST_PAUSE_S
        yield row
        while not has_ended(row):
            if now() - changed > silent_s:
                raise JobStalled(row.id, row.status, silent_s, row.error)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            before, row = row, await self.get(row.id)
            if row != before:
                changed = now()
                yield row

    @staticmethod
    def outcome(row: JobRow) -> Mapping[str, Any]:
        """The result of a job that has ended.

        Raises:
            JobFailed: the job failed permanently.
            JobCancelled: the job was cancelled.
        """
        if row.status == JobStatus.FAILED:
            raise JobFailed(row.id, row.error or "no reason is known")
        if row.status == JobStatus.CANCELLED:
            raise JobCancelled(row.id)
        return row.result or {}

    async def _step_in(self, job_id: JobId, what: str) -> JobRow:
        path = f"/v1/jobs/{job_id}/{what}"
        return _read(path, job_of, await self._service.post(path, repeatable=False))


class RemoteRunner:
    """Waits until the service's workers have run the jobs in ``queued``.

    Gives up on a job that hasn't changed for ``silent_s``.
    """

    def __init__(self, jobs: RemoteJobs, queued: deque[JobId], silent_s: float) -> None:
        self._jobs = jobs
        self._queued = queued
        self._silent_s = silent_s

    async def recover(self) -> int:
        """A no-op: the service recovers its own jobs."""
        return 0

    async def run_one(self, types: Collection[str] | None = None) -> JobRow | None:  # noqa: ARG002 - all are index jobs
        """Wait for the next job to end; None when none is left.

        Raises:
            JobFailed: the job failed permanently.
            JobCancelled: the job was cancelled.
            JobStalled: the job hasn't changed for too long.
        """
        if not self._queued:
            return None
        row = await self._jobs.get(self._queued.popleft())
        async for each in self._jobs.follow(row, self._silent_s):
            row = each
        self._jobs.outcome(row)
        return row


def _handed_in(item: Item) -> dict[str, Any]:
    return {
        "source_uri": item.source_uri,
        "source_group": item.source_group,
        "extraction_type": item.extraction_type,
        "confidence": item.confidence,
        "data": item.data,
        "metadata": item.metadata,
    }


def _bodies(lines: Lines) -> Iterator[bytes]:
    while some := lines.next_lines(_LINES_AT_ONCE):
        yield b"".join(line if line.endswith(b"\n") else line + b"\n" for _, line in some)


def _replaced(answer: Mapping[str, Any]) -> Replaced:
    sources = [
        ReplacedSource(
            SourceId(uuid.UUID(each["id"])),
            str(each["uri"]),
            Counts(each["added"], each["changed"], each["unchanged"], each["removed"]),
            bool(each["gone"]),
            _changed_facts(each["facts"]),
        )
        for each in answer["sources"]
    ]
    jobs = [JobId(uuid.UUID(each)) for each in answer["jobs"]]
    return Replaced(sources, jobs, warnings=_warnings(answer))


def _changed_facts(facts: "Sequence[Mapping[str, Any]] | None") -> list[ChangedFact] | None:
    if facts is None:
        return None
    return [
        ChangedFact(
            ChangeKind(each["kind"]),
            ExtractionId(uuid.UUID(each["id"])),
            each["extraction_type"],
            each["data"],
        )
        for each in facts
    ]


def _warnings(answer: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(map(str, answer.get("warnings", ())))  # services of earlier versions send none


def _accepted(answer: Mapping[str, Any]) -> tuple[Accepted, list[JobId]]:
    ids = [ExtractionId(uuid.UUID(each["id"])) for each in answer["items"]]
    new = {id_ for id_, each in zip(ids, answer["items"], strict=True) if each["new"]}
    changed = {id_ for id_, each in zip(ids, answer["items"], strict=True) if each["changed"]}
    jobs = [JobId(uuid.UUID(each)) for each in answer["jobs"]]
    job_id = jobs[-1] if new else None
    return Accepted(ids, new, job_id, changed, jobs[:-1] if new else jobs, warnings=_warnings(answer)), jobs


def _hits(answer: Mapping[str, Any]) -> SearchHits:
    return SearchHits(
        tuple(map(_hit, answer["items"])),
        tuple(map(str, answer["degraded"])),
        bool(answer["more"]),
        _warnings(answer),
    )


def _hit(hit: Mapping[str, Any]) -> SearchHit:
    return SearchHit(
        hit["score"],
        extraction_of(hit["extraction"]),
        _ranked(hit["meaning"]),
        _ranked(hit["words"]),
        tuple(hit["terms"]),
        {path: tuple((start, end) for start, end in spans) for path, spans in hit["highlights"].items()},
        tuple(Twin(ExtractionId(uuid.UUID(twin["id"])), twin["source_uri"]) for twin in hit["twins"]),
    )


def _ranked(side: Mapping[str, Any] | None) -> Ranked | None:
    return None if side is None else Ranked(side["rank"], side["score"])


def job_of(job: Mapping[str, Any]) -> JobRow:
    """The inverse of :func:`app.domain.jobs.job_as_dict`."""
    project_id = job["project_id"]
    return JobRow(
        id=JobId(uuid.UUID(job["id"])),
        type=job["type"],
        status=job["status"],
        priority=job["priority"],
        project_id=None if project_id is None else ProjectId(uuid.UUID(project_id)),
        attempt=job["attempts"],
        failures=job["failures"],
        done=job["progress"]["done"],
        total=job["progress"]["total"],
        run_at=datetime.fromisoformat(job["run_at"]),
        created_at=datetime.fromisoformat(job["created_at"]),
        started_at=moment_of(job["started_at"]),
        completed_at=moment_of(job["completed_at"]),
        result=job["result"],
        error=job["error"],
    )
