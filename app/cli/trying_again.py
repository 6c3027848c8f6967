"""Retries the embedding of extractions that were set aside, and reports the outcome."""

import uuid
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from app.cli.filtering import WantedExtractions, warn
from app.cli.index_jobs import run_queued, say_waiting
from app.cli.naming import unless_missing
from app.cli.output import counted, note, print_table, printable, progress, say
from app.cli.stores import is_remote
from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.domain.jobs import INDEX_JOBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.cli.ports import FinishedJob, ServiceParts
    from app.domain.ids import JobId
    from app.domain.rows import ExtractionRows

_REASONS_TOLD = 20


@dataclass(slots=True)
class Retrial:
    """The outcome of a retry.

    ``reasons`` holds the first extractions that were set aside again. ``is_remote`` says that a
    service's workers run the jobs.
    """

    tried: int = 0
    indexed: int = 0
    set_aside: int = 0
    reasons: "ExtractionRows" = field(default_factory=list)
    jobs: "Sequence[JobId]" = ()
    warnings: tuple[str, ...] = ()
    is_remote: bool = False

    @property
    def waiting(self) -> int:
        """How many have no vector and aren't set aside yet."""
        return max(0, self.tried - self.indexed - self.set_aside)

    def as_dict(self, project: str) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "project": project,
            "retried": self.tried,
            "indexed": self.indexed,
            "set_aside": self.set_aside,
            "waiting": self.waiting,
            "jobs": self.jobs,
            "warnings": self.warnings,
            "set_aside_again": [{"id": row.id, "reason": row.set_aside_reason} for row in self.reasons],
        }

    def print(self, project: str, list_set_aside: str) -> None:
        """Print the outcome for people; ``list_set_aside`` is the command that lists the rest."""
        if not self.tried:
            note(f"None of these is set aside in project {printable(project)}; nothing was retried.")
            return
        say(
            f"Retried {counted(self.tried, 'extraction')}: indexed {self.indexed:,}, "
            f"set aside again {self.set_aside:,}."
        )
        if self.waiting:
            say_waiting(self.waiting, remote=self.is_remote)
        if self.reasons:
            print_table(
                ("why", "source and id"),
                [(row.set_aside_reason, (row.source_uri, str(row.id))) for row in self.reasons],
                wide="why",
                whole=("source and id",),
            )
        if self.set_aside > len(self.reasons):
            note(f"And {self.set_aside - len(self.reasons):,} more; {list_set_aside} shows all.")


async def try_again(
    parts: "ServiceParts",
    project: str,
    ids: list[uuid.UUID] | None,
    wanted: WantedExtractions,
) -> Retrial:
    """Retry the extractions with these ids, or all ``wanted`` ones, and run the queued jobs.

    Raises:
        NotFound: the project or a run doesn't exist.
        ServiceError: the service refused.
    """
    await parts.indexing().prepare()
    worker = parts.worker()
    await worker.recover()
    filters = Filters(extraction_ids=tuple(ids)) if ids else await wanted.of_project(parts, project)
    warnings = await warn(parts, project, filters)
    retried = await parts.extractions().retry(project, filters)
    report = Retrial(retried.extractions, jobs=retried.job_ids, warnings=warnings, is_remote=is_remote(parts))
    if not report.tried:
        return report
    with progress() as display:
        bar = display.add_task("indexed", total=report.tried)

        def ended(job: "FinishedJob") -> None:
            display.advance(bar, (job.result or {}).get("indexed", 0))

        unfinished = f"Queued {counted(report.tried, 'extraction')} for a retry, which isn't complete yet"
        await run_queued(worker, INDEX_JOBS, unfinished, remote=report.is_remote, ended=ended)
    # Read the jobs' results: this worker may also have run older jobs, and others some of these.
    for job_id in retried.job_ids:
        result = (await parts.jobs().get(job_id)).result or {}
        report.indexed += result.get("indexed", 0)
        report.set_aside += result.get("set_aside", 0)
    if report.set_aside:
        report.reasons = await (_of_ids(parts, project, ids) if ids else _of_filters(parts, project, filters))
    return report


async def _of_ids(parts: "ServiceParts", project: str, ids: list[uuid.UUID]) -> "ExtractionRows":
    """The first set-aside extractions among these ids; the API lists only by filters."""
    found: ExtractionRows = []
    for each in dict.fromkeys(ids):
        row = await unless_missing(partial(parts.extractions().get, ExtractionId(each)))
        if row is not None and row.project == project and row.set_aside_reason is not None:
            found.append(row)
        if len(found) == _REASONS_TOLD:
            break
    return found


async def _of_filters(parts: "ServiceParts", project: str, filters: Filters) -> "ExtractionRows":
    """The first set-aside extractions that pass the filters."""
    again = replace(filters, set_aside=True)
    pages = parts.extractions().iter_pages(project, again, limit=_REASONS_TOLD)
    return [row async for rows in pages for row in rows]
