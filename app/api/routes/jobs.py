"""``/v1/jobs``, ``/v1/job-types``, ``/v1/verify`` and ``/v1/reindex``."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from app.api.answers import ExactRoute, as_json
from app.api.cursors import read_moment_and_id, write_moment_and_id
from app.api.event_streams import SIGN_OF_LIFE, EventStream
from app.api.job_streams import Following, JobStreams
from app.api.keys import caller_of
from app.api.parts import OptionsOf, PartsOf
from app.api.problems import documented
from app.api.schemas.jobs import Job, Jobs, JobTypes, Pruned, Pruning, Verification
from app.api.schemas.values import Label, Labels, PageLimit, ProjectName
from app.domain.ids import JobId
from app.domain.jobs import JobFilters, JobRow, JobStatus, job_as_dict
from app.services.jobs.service import Cursor

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=ExactRoute)

_ALL = Verification()

JobIdOf = Annotated[UUID, Path(description="The job's id.")]


@router.get("/jobs")
async def list_jobs(  # noqa: PLR0913, PLR0917 - each is a parameter
    parts: PartsOf,
    type_: Annotated[Labels, Query(alias="type", description="Repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    status: Annotated[list[JobStatus], Query(max_length=100, description="Repeatable.")] = [],  # noqa: B006 - likewise
    project: ProjectName | None = None,
    limit: PageLimit = 100,
    cursor: str | None = None,
) -> Jobs:
    """List jobs, newest first, in pages."""
    filters = JobFilters(type_, status, project)
    after = None if cursor is None else _place(cursor)
    rows = await parts.jobs().list(filters, after=after, limit=limit)
    last = rows[-1] if len(rows) == limit else None
    following = None if last is None else write_moment_and_id(last.created_at, last.id)
    return Jobs(items=[_job(row) for row in rows], next_cursor=following)


@router.get("/jobs/{job_id}", responses=documented(404))
async def get_job(parts: PartsOf, job_id: JobIdOf) -> Job:
    """Get one job with its progress, attempts and error."""
    return _job(await parts.jobs().get(JobId(job_id)))


@router.post("/jobs/{job_id}/cancel", status_code=202, responses=documented(404, 409))
async def cancel_job(parts: PartsOf, job_id: JobIdOf) -> Job:
    """Cancel a waiting job, or stop a running one at its next batch; the work done so far stays."""
    return _job(await parts.jobs().cancel(JobId(job_id)))


@router.post("/jobs/{job_id}/retry", status_code=202, responses=documented(404, 409))
async def retry_job(parts: PartsOf, job_id: JobIdOf) -> Job:
    """Queue a failed or cancelled job again, or start a waiting job's next attempt at once."""
    return _job(await parts.jobs().retry(JobId(job_id)))


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "An event `job`, with the job as its data, after each change, until the job has ended.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **documented(404),
    },
)
async def follow_job(
    request: Request, parts: PartsOf, options: OptionsOf, job_id: JobIdOf
) -> StreamingResponse:
    """Follow a job by server-sent events until it has ended.

    The limit is 20 streams per caller and 100 in all.
    """
    row = await parts.jobs().get(JobId(job_id))
    streams: JobStreams = request.app.state.streams
    following = streams.open(row, caller_of(request, options.api_keys))
    return EventStream(_events(following), lambda: streams.close(following))


@router.post("/jobs/prune")
async def prune_jobs(parts: PartsOf, body: Pruning) -> Pruned:
    """Delete jobs that ended before the given age."""
    return Pruned(pruned=await parts.jobs().prune(body.older_than_seconds))


@router.post("/verify", status_code=202, responses=documented(404))
async def verify(parts: PartsOf, body: Verification = _ALL) -> Job:
    """Queue a comparison of SQL with Qdrant; the job's result lists the differences.

    One runs at a time for a project.
    """
    return _job(await parts.jobs().verify(body.project, repair=body.repair))


@router.post("/reindex", status_code=202)
async def reindex(parts: PartsOf) -> Job:
    """Queue a rebuild of the index with the service's embedder.

    Searches by meaning are refused meanwhile. One rebuild runs at a time. A rebuild that fails or
    is cancelled leaves the index unfinished; the next one continues it.
    """
    return _job(await parts.jobs().reindex())


@router.get("/job-types")
async def list_job_types(parts: PartsOf) -> JobTypes:
    """List the paused job types."""
    return JobTypes(paused=await parts.jobs().paused())


@router.post("/job-types/{type}/pause")
async def pause_job_type(parts: PartsOf, type_: Annotated[Label, Path(alias="type")]) -> JobTypes:
    """Pause a known job type: workers start no more jobs of it; running jobs continue."""
    await parts.jobs().pause(type_)
    return JobTypes(paused=await parts.jobs().paused())


@router.post("/job-types/{type}/resume")
async def resume_job_type(parts: PartsOf, type_: Annotated[Label, Path(alias="type")]) -> JobTypes:
    """Resume a job type: workers start its jobs again."""
    await parts.jobs().resume(type_)
    return JobTypes(paused=await parts.jobs().paused())


async def _events(following: Following) -> AsyncIterator[bytes]:
    """Yield an event after each change of the job, and comments as keep-alive in between."""
    async for row in following.changes():
        yield SIGN_OF_LIFE if row is None else _event(row)


def _event(row: JobRow) -> bytes:
    return b"event: job\ndata: " + as_json(job_as_dict(row)) + b"\n\n"


def _job(row: JobRow) -> Job:
    return Job.model_validate(job_as_dict(row))


def _place(cursor: str) -> Cursor:
    created_at, job_id = read_moment_and_id(cursor)
    return created_at, JobId(job_id)
