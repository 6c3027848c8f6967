"""Answers that wait for the jobs that a request has queued."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response

from app.api.admission import Admission
from app.api.answers import answer_json
from app.api.event_streams import StreamPlaces
from app.api.keys import caller_of
from app.api.parts import ApiParts, OptionsOf
from app.api.problems import Refused
from app.domain.documents import deleted_as_dict
from app.domain.ids import JobId
from app.domain.outcomes import Deleted, Waited
from app.services.jobs.waiting import MAX_WAIT_S


class JobWaits:
    """The requests that wait for jobs, on the event loop.

    While a request waits, it counts as a stream instead of as a request in progress.
    """

    def __init__(
        self, parts: ApiParts, stopping: asyncio.Event, places: StreamPlaces, admission: Admission
    ) -> None:
        """Create it without waiting requests; all waits end when ``stopping`` is set."""
        self._parts = parts
        self._stopping = stopping
        self._places = places
        self._admission = admission

    async def wait(self, caller: str, job_ids: Collection[JobId], seconds: float) -> Waited:
        """Wait until the jobs have ended, at most ``seconds``; not at all if too many wait."""
        try:
            self._places.take(caller)
        except Refused:
            return await self._parts.jobs().wait(job_ids, 0)
        try:
            with self._admission.left():
                return await self._until_stopping(job_ids, seconds)
        finally:
            self._places.release(caller)

    async def _until_stopping(self, job_ids: Collection[JobId], seconds: float) -> Waited:
        waiting = asyncio.create_task(self._parts.jobs().wait(job_ids, seconds))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else Waited(list(job_ids), [])
        finally:
            for task in (waiting, stopping):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


class Wait:
    """How long a request waits for the jobs that it queues, if at all."""

    def __init__(self, waits: JobWaits, caller: str, seconds: float | None) -> None:
        self._waits = waits
        self._caller = caller
        self._seconds = seconds

    async def until_ended(self, job_ids: Collection[JobId]) -> Waited | None:
        """Wait, and return the jobs that didn't complete; None if the request doesn't wait."""
        if self._seconds is None:
            return None
        return await self._waits.wait(self._caller, job_ids, self._seconds)


def status_of(waited: Waited | None) -> int:
    """Return 200 if all jobs have ended, and 202 if some may still run."""
    return 200 if waited is not None and not waited.open_job_ids else 202


def waited_as_json(waited: Waited | None) -> dict[str, Any] | None:
    """Return the JSON of a wait's outcome."""
    return None if waited is None else {"open_jobs": waited.open_job_ids, "failed_jobs": waited.failed_job_ids}


async def answer_deleted(deleted: Deleted, wait: Wait, warnings: Sequence[str] = ()) -> Response:
    """Answer with what was deleted, after waiting for the jobs if the request asks for it."""
    waited = await wait.until_ended(deleted.job_ids)
    told = {**deleted_as_dict(deleted, warnings=warnings), "waited": waited_as_json(waited)}
    return answer_json(told, status_of(waited))


def may_wait(model: object) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI documentation of the 200 answer of a route with ``wait``."""
    return {200: {"model": model, "description": "As 202, and all jobs that it queued have ended."}}


async def _wait(
    request: Request,
    options: OptionsOf,
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            le=MAX_WAIT_S,
            description="Wait at most this many seconds for the queued jobs; 200 if they have ended, 202 if not.",
        ),
    ] = None,
) -> Wait:
    return Wait(request.app.state.waits, caller_of(request, options.api_keys), wait)


WaitOf = Annotated[Wait, Depends(_wait)]
