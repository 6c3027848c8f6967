"""One chaos run: load and faults together, then a wait for the jobs, then the comparison."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from app.cli.chaos.books import Books, Report
from app.cli.chaos.faults import Faults
from app.cli.chaos.load import PROJECT, Load
from app.cli.chaos.place import Place
from app.domain.filters import ANY
from app.domain.jobs import OPEN_STATUSES, JobFilters, JobStatus
from app.domain.upkeep import Differences
from app.errors import AgentStorageError

if TYPE_CHECKING:
    from app.cli.remote.parts import RemoteParts

_CALM_S = 300.0
_LOOKED_AT_EVERY_S = 0.5


async def run_chaos(
    place: Place,
    open_parts: Callable[[], "AbstractContextManager[RemoteParts]"],
    *,
    seconds: float,
    seed: int,
    told: Callable[[str], None],
) -> Report:
    """Start the processes, inject faults for ``seconds``, and compare the stores with the promises.

    The processes still run when this returns. ``told`` is called with a text for each step.

    Raises:
        AgentStorageError: a process didn't start again, or jobs were still open five minutes after
            the last fault.
    """
    books = Books(seed)
    started = time.monotonic()
    await asyncio.to_thread(place.start)
    with open_parts() as parts:
        load, faults = Load(parts, books), Faults(place, books, told)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run())
            happening = group.create_task(faults.run())
            await asyncio.sleep(seconds)
            faults.stop()
            await happening
            load.stop()
        told("waiting for the jobs")
        report = await calm_and_compared(parts, books, seconds=time.monotonic() - started, seed=seed)
        report.not_tried = faults.not_tried
        return report


async def calm_and_compared(parts: "RemoteParts", books: Books, *, seconds: float, seed: int) -> Report:
    """Wait until no job is open, and compare the stores with the promises.

    Raises:
        AgentStorageError: jobs were still open after five minutes.
    """
    await _until_calm(parts)
    report = Report(
        round(seconds, 1), seed, dict(books.counts), dict(books.refusals), dict(books.faults), not_tried={}
    )
    await _compare(report, books, parts)
    return report


async def _until_calm(parts: "RemoteParts") -> None:
    until = time.monotonic() + _CALM_S
    while await parts.jobs().list(JobFilters(statuses=OPEN_STATUSES), limit=1):
        if time.monotonic() > until:
            raise AgentStorageError(f"jobs are still open {_CALM_S:g} s after the last fault; see the logs")
        await asyncio.sleep(_LOOKED_AT_EVERY_S)


async def _compare(report: Report, books: Books, parts: "RemoteParts") -> None:
    pages = parts.extractions().iter_pages(PROJECT, ANY)
    report.compare(books, [row async for page in pages for row in page])
    report.failed_jobs = len(await parts.jobs().list(JobFilters(statuses=(JobStatus.FAILED,)), limit=1_000))
    report.differing = (await _verified(parts, repair=False)).remaining
    if report.differing:
        await _verified(parts, repair=True)
        report.left = (await _verified(parts, repair=False)).remaining


async def _verified(parts: "RemoteParts", *, repair: bool) -> Differences:
    found = Differences()
    async for progress in parts.reconciliation().run(repair=repair):
        found = progress
    return found
