"""Runs the index jobs that a command queues, or waits until a service has run them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

from app.cli.output import counted, note, say
from app.errors import AgentStorageError

if TYPE_CHECKING:
    from app.cli.ports import FinishedJob, JobRunner

_INDEXERS = 2
_BEHIND = 4
"""How many jobs may wait before the writes do (backpressure)."""

_ANOTHER, _LAST = True, False  # messages to the indexers: a job was queued, no more follow


@asynccontextmanager
async def indexing_beside(
    worker: "JobRunner", ended: "Callable[[FinishedJob], None]"
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Run index jobs during the block, and at its end all that are left, including older ones.

    The block calls the yielded function with the number of jobs it has just queued. ``ended`` is
    called with each job that has run.

    Raises:
        ExceptionGroup: the block or a job failed; the other jobs weren't awaited.
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
    """Run all jobs of these types, and call ``ended`` with each.

    If one can't be run, print what is ``unfinished`` and what will complete it, and exit with
    code 1.
    """
    try:
        while (job := await worker.run_one(types)) is not None:
            ended(job)
    except AgentStorageError as error:
        way = "the service completes that" if remote else "`agent-storage verify --repair` completes that"
        note(f"{unfinished}; {way}: {error}")
        raise typer.Exit(1) from None


def say_indexed(indexed: int) -> None:
    """Say how many extractions are indexed."""
    they = "it" if indexed == 1 else "they"
    say(f"Indexed {counted(indexed, 'extraction')}; {they} can be searched now.")


def say_waiting(waiting: int, *, remote: bool) -> None:
    """Say how many extractions aren't indexed yet, and what will index them."""
    way = "The service continues indexing." if remote else "`agent-storage verify --repair` indexes them."
    say(f"Not indexed yet: {waiting:,}. {way}")


def first_of(errors: ExceptionGroup[Exception]) -> Exception:
    """The first error of a group; the others have the same cause."""
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
