"""Running the index jobs that a command queues, beside its writing or after it, or waiting for the service that runs them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

from app.cli.output import note
from app.errors import AgentStorageError

if TYPE_CHECKING:
    from app.cli.ports import FinishedJob, JobRunner

_INDEXERS = 2
_BEHIND = 4
"""So many jobs may wait before the writing does; it shall not run far ahead."""

_ANOTHER, _LAST = True, False  # what the indexers are told: a job was stored, no more will be


@asynccontextmanager
async def indexing_beside(
    worker: "JobRunner", ended: "Callable[[FinishedJob], None]"
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Run index jobs until the block ends, and then all that are left, older ones included.

    The block calls what it gets with how many jobs it has just queued. ``ended`` is told of each
    that has run.

    Raises:
        ExceptionGroup: the block or a job failed; the rest was given up.
    """
    queue: asyncio.Queue[bool] = asyncio.Queue(maxsize=_BEHIND)

    async def queued(jobs: int) -> None:
        for _ in range(jobs):
            await queue.put(_ANOTHER)

    async with asyncio.TaskGroup() as group:
        for _ in range(_INDEXERS):
            group.create_task(_index(worker, queue, ended))
        yield queued
        for _ in range(_INDEXERS):
            await queue.put(_LAST)


async def run_queued(
    worker: "JobRunner",
    types: Collection[str],
    unfinished: str,
    *,
    remote: bool,
    ended: Callable[["FinishedJob"], None] = lambda _: None,
) -> None:
    """Run all jobs of these types, and tell ``ended`` of each.

    Where one can't be run, say what is ``unfinished`` and who goes on with it, and end with exit
    code 1.
    """
    try:
        while (job := await worker.run_one(types)) is not None:
            ended(job)
    except AgentStorageError as error:
        way = "the service goes on with it" if remote else "`agent-storage verify --repair` does that"
        note(f"{unfinished}, and {way}: {error}")
        raise typer.Exit(1) from None


def first_of(errors: ExceptionGroup[Exception]) -> Exception:
    """One error stands for its group: the others came of the same fault."""
    first = errors.exceptions[0]
    return first_of(first) if isinstance(first, ExceptionGroup) else first


async def _index(
    worker: "JobRunner", queue: asyncio.Queue[bool], ended: "Callable[[FinishedJob], None]"
) -> None:
    from app.domain.jobs import INDEX_JOBS

    more = True
    while more:
        more = await queue.get()
        while (job := await worker.run_one(INDEX_JOBS)) is not None:
            ended(job)
            if more:
                break
