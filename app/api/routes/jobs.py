"""``/v1/jobs``, ``/v1/job-types`` and ``/v1/verify``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from app.api.answers import ExactRoute, cursor_of, place_of
from app.api.parts import Parts, PartsOf
from app.api.problems import Refused, documented
from app.api.schemas import Job, Jobs, JobTypes, Label, ProjectName, Pruned, Pruning, Verification
from app.errors import InvalidField
from app.models import JobId, JobStatus
from app.services.jobs.service import Cursor, has_ended
from app.services.jobs.view import job_as_dict
from app.services.storage.repositories.job import JobFilters, JobRow
from app.services.storage.repositories.project import project_id

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=ExactRoute)

MAX_STREAMS = 100
"""How many streams of events there may be at once."""

_LOOK_S = 0.5
_SIGN_OF_LIFE_S = 15.0

JobIdOf = Annotated[UUID, Path(description="The job's id.")]


@router.get("/jobs")
async def list_jobs(  # noqa: PLR0913, PLR0917 - each is a parameter
    parts: PartsOf,
    type_: Annotated[list[Label], Query(alias="type", description="Repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    status: Annotated[list[JobStatus], Query(description="Repeatable.")] = [],  # noqa: B006 - likewise
    project: ProjectName | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    cursor: str | None = None,
) -> Jobs:
    """The newest jobs first, page by page."""
    filters = JobFilters(type_, status, None if project is None else project_id(project))
    after = None if cursor is None else _place(cursor)
    rows = await parts.jobs().list(filters, after=after, limit=limit)
    last = rows[-1] if len(rows) == limit else None
    following = None if last is None else cursor_of(last.created_at.isoformat(), str(last.id))
    return Jobs(items=[_job(row) for row in rows], next_cursor=following)


@router.get("/jobs/{job_id}", responses=documented(404))
async def get_job(parts: PartsOf, job_id: JobIdOf) -> Job:
    """One job: its progress, its attempts, its error."""
    return _job(await parts.jobs().get(JobId(job_id)))


@router.post("/jobs/{job_id}/cancel", status_code=202, responses=documented(404, 409))
async def cancel_job(parts: PartsOf, job_id: JobIdOf) -> Job:
    """Cancel a job that waits; ask one that runs to stop at its next batch. What it has done stays."""
    return _job(await parts.jobs().cancel(JobId(job_id)))


@router.post("/jobs/{job_id}/retry", status_code=202, responses=documented(404, 409))
async def retry_job(parts: PartsOf, job_id: JobIdOf) -> Job:
    """Queue a failed or cancelled job again, or let one that waits for its next attempt go at once."""
    return _job(await parts.jobs().retry(JobId(job_id)))


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "An event `job`, with the job as its data, whenever it has changed, until it has ended.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **documented(404),
    },
)
async def follow_job(request: Request, parts: PartsOf, job_id: JobIdOf) -> StreamingResponse:
    """Follow a job by server-sent events until it has ended."""
    row = await parts.jobs().get(JobId(job_id))
    state = request.app.state
    if state.streams >= MAX_STREAMS:
        reason = f"{MAX_STREAMS} streams of events are open already"
        raise Refused(503, "saturated", reason, headers={"retry-after": "5"})
    return StreamingResponse(
        _counted(state, _events(parts, row, state.stopping)), media_type="text/event-stream"
    )


@router.post("/jobs/prune")
async def prune_jobs(parts: PartsOf, body: Pruning) -> Pruned:
    """Delete jobs that ended longer ago than that."""
    return Pruned(pruned=await parts.jobs().prune(body.older_than_seconds))


@router.post("/verify", status_code=202, responses=documented(404))
async def verify(parts: PartsOf, body: Verification) -> Job:
    """Queue a comparison of SQL with Qdrant; the job's result says what differs. One runs at a time for a project."""
    return _job(await parts.jobs().verify(body.project, repair=body.repair))


@router.get("/job-types")
async def list_job_types(parts: PartsOf) -> JobTypes:
    """The types of jobs that are paused."""
    return JobTypes(paused=await parts.jobs().paused())


@router.post("/job-types/{type}/pause")
async def pause_job_type(parts: PartsOf, type_: Annotated[Label, Path(alias="type")]) -> JobTypes:
    """Let no worker begin jobs of this type; those that run go on."""
    await parts.jobs().pause(_storable(type_))
    return JobTypes(paused=await parts.jobs().paused())


@router.post("/job-types/{type}/resume")
async def resume_job_type(parts: PartsOf, type_: Annotated[Label, Path(alias="type")]) -> JobTypes:
    """Let workers begin jobs of this type again."""
    await parts.jobs().resume(_storable(type_))
    return JobTypes(paused=await parts.jobs().paused())


async def _events(parts: Parts, row: JobRow, stopping: asyncio.Event) -> AsyncIterator[bytes]:
    """An event whenever the job has changed, and a comment now and then, so that nobody takes the silence for an end."""
    yield _event(row)
    silent_s = 0.0
    while not has_ended(row) and not stopping.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await stopping.wait()
        silent_s += _LOOK_S
        found = await parts.jobs().get(row.id)
        if found != row:
            row, silent_s = found, 0.0
            yield _event(row)
        elif silent_s >= _SIGN_OF_LIFE_S:
            silent_s = 0.0
            yield b": still there\n\n"


async def _counted(state: Any, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:  # noqa: ANN401 - the app's state
    state.streams += 1
    try:
        async for event in events:
            yield event
    finally:
        state.streams -= 1


def _event(row: JobRow) -> bytes:
    return b"event: job\ndata: " + orjson.dumps(job_as_dict(row)) + b"\n\n"


def _job(row: JobRow) -> Job:
    return Job.model_validate(job_as_dict(row))


def _place(cursor: str) -> Cursor:
    created_at, job_id = place_of(cursor, 2)
    try:
        moment = datetime.fromisoformat(created_at)
        place = moment.astimezone(moment.tzinfo), JobId(UUID(job_id))
    except (ValueError, OverflowError):
        raise InvalidField("cursor", "is none that this service made; begin again without it") from None
    if moment.tzinfo is None:
        raise InvalidField("cursor", "is none that this service made; begin again without it")
    return place


def _storable(text: str) -> str:
    if "\0" in text:
        raise InvalidField("type", "contains the character U+0000")
    return text
