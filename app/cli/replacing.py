"""``agent-storage ingest --replace``: replaces the facts of sources by those in a file."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import typer

from app.cli.context import context_of, run_at
from app.cli.extraction_rows import shown_text
from app.cli.index_jobs import first_of, indexing_beside, say_indexed, say_waiting
from app.cli.interruption import Interruption, say_interrupted
from app.cli.output import counted, note, print_json, print_table, printable, progress, say
from app.cli.request_run import OfRun, say_run
from app.cli.stores import IfMissing, Remote, is_remote
from app.domain.documents import replaced_source_as_dict
from app.errors import AgentStorageError, Conflict, InvalidInput, ServiceError
from app.reading_ahead import reading_ahead

if TYPE_CHECKING:
    from rich.progress import Progress

    from app.cli.input_file import InputFile
    from app.cli.ports import FinishedJob, JobRunner, Lines, ServiceParts, SourceReplacement
    from app.domain.outcomes import Replaced, ReplacedSource
    from app.domain.sources import ReplaceOptions, SourceFacts
    from app.domain.text import TextRules
    from app.executor import Lane
    from app.intake.rows import RowReader
    from app.intake.source_lines import SourceLines
    from app.services.ingestion import IngestionService

_BATCHES_AT_ONCE = 4
"""How many ingest batches a replace handles in one transaction.

Most replaced facts are already stored, and cost a quarter of new ones. Each transaction also queues
its own jobs.
"""

_MOST_SHOWN = 20
_LONGEST_TEXT = 200

_CHANGED = ("added", "changed", "removed")
_TOTALS = ("added", "changed", "unchanged", "removed")


@dataclass(slots=True)
class _Report:
    """What the replacement has done so far."""

    project: str
    dry_run: bool
    sources: "list[ReplacedSource]" = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    indexed: int = 0
    set_aside: int = 0
    run_id: str | None = None
    is_remote: bool = False
    seconds: float = 0.0
    unit: str = "line"
    remarks: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def add(self, replaced: "Replaced") -> None:
        self.sources += replaced.sources
        self.jobs += map(str, replaced.job_ids)
        self.warnings = replaced.warnings or self.warnings

    def total(self, name: str) -> int:
        return sum(getattr(source.counts, name) for source in self.sources)


class FileReplacement:
    """One run of the command."""

    def __init__(self, project: str, source: "InputFile", options: "ReplaceOptions", of_run: OfRun) -> None:
        self.report = _Report(project, options.dry_run)
        self._source = source
        self._options = options
        self._of_run = of_run

    def say_interrupted(self) -> None:
        """Say what Ctrl-C has left undone."""
        done = f"at least {counted(len(self.report.sources), 'source')} replaced, each as a whole"
        if self.report.dry_run:
            done = "nothing was changed"
        say_interrupted(done, from_stdin=self._source.is_stdin)

    async def run(
        self, parts: "ServiceParts", replacement: "SourceReplacement", text_fields: tuple[str, ...]
    ) -> None:
        """Replace all sources of the file, and update the index."""
        self.report.is_remote = is_remote(parts)
        with self._source.open(text_fields) as reader, progress() as display:
            self.report.unit = reader.unit
            await parts.files_lane().run(reader.begin)
            await parts.indexing().prepare()
            worker = parts.worker()
            await worker.recover()
            bars = _Bars(display, reader)
            started = time.monotonic()
            try:
                await self._replace_and_index(parts, worker, replacement, reader, bars)
            except ExceptionGroup as errors:
                raise first_of(errors) from None
            finally:
                self.report.seconds = time.monotonic() - started

    async def _replace_and_index(
        self,
        parts: "ServiceParts",
        worker: "JobRunner",
        replacement: "SourceReplacement",
        reader: "RowReader",
        bars: "_Bars",
    ) -> None:
        """Replace the sources, and index concurrently.

        An error is raised once the sources replaced before it are indexed.
        """
        fault = None

        def ended(job: "FinishedJob") -> None:
            result = job.result or {}
            self.report.indexed += result.get("indexed", 0)
            self.report.set_aside += result.get("set_aside", 0)
            bars.advance()

        async with indexing_beside(worker, ended) as queued:

            async def replaced(part: "Replaced") -> None:
                self.report.add(part)
                bars.show(self.report)
                await queued(len(part.job_ids))

            try:
                await self._replace(parts, replacement, reader, replaced)
            except AgentStorageError as error:
                fault = error
            finally:
                self.report.remarks = reader.remarks
        if fault is not None:
            raise fault

    async def _replace(
        self,
        parts: "ServiceParts",
        replacement: "SourceReplacement",
        reader: "RowReader",
        replaced: "Callable[[Replaced], Awaitable[None]]",
    ) -> None:
        run_id = None if self._options.dry_run else await self._of_run.begin(parts, self.report.project)
        self.report.run_id = None if run_id is None else str(run_id)
        try:
            await replacement.replace(
                self.report.project, reader, replace(self._options, run_id=run_id), replaced
            )
        finally:
            await self._of_run.end(parts, self.report.project)
        if not self.report.sources:
            raise InvalidInput(f"{reader.name} holds no extraction: it is empty")


class _Bars:
    """The progress display: bytes read, and how many index jobs have ended."""

    def __init__(self, display: "Progress", reader: "RowReader") -> None:
        self._display = display
        self._reader = reader
        self._read = display.add_task("read, bytes", total=reader.size_bytes)
        self._jobs = display.add_task("index jobs", total=None)

    def show(self, report: _Report) -> None:
        self._display.update(self._read, completed=self._reader.position_bytes)
        self._display.update(self._jobs, total=len(report.jobs))

    def advance(self) -> None:
        self._display.advance(self._jobs)


class NearReplacement:
    """Replaces sources in this process, in batches of whole sources."""

    def __init__(
        self, ingestion: "IngestionService", files: "Lane", text_fields: tuple[str, ...], batch_size: int
    ) -> None:
        self._ingestion = ingestion
        self._files = files
        self._text_fields = text_fields
        self._batch_size = _BATCHES_AT_ONCE * batch_size

    async def replace(
        self,
        project: str,
        lines: "Lines",
        options: "ReplaceOptions",
        replaced: "Callable[[Replaced], Awaitable[None]]",
    ) -> None:
        """See :class:`app.cli.ports.SourceReplacement`."""
        from app.intake.source_lines import SourceLines

        stream = self._ingestion.replacing(project, options)
        sources = SourceLines(self._batch_size, self._text_fields, unit=lines.unit)

        async with aclosing(reading_ahead(self._batches(lines, sources))) as batches:
            async for batch in batches:
                await replaced(await stream.take(batch))
        # In one transaction with the end, so that a refusal of a small file changes nothing.
        if last := sources.end():
            await replaced(await stream.take(last, finishing=True))
        elif sources.any:
            await replaced(await stream.finish())

    async def _batches(self, lines: "Lines", sources: "SourceLines") -> "AsyncIterator[list[SourceFacts]]":
        def read() -> "list[list[SourceFacts]] | None":
            some = lines.next_lines(self._batch_size)
            return sources.take_lines(some) if some else None

        while (batches := await self._files.run(read)) is not None:
            for batch in batches:
                yield batch


def replace_file(
    ctx: typer.Context, api: str | None, job: FileReplacement, *, near: bool, as_json: bool
) -> None:
    """Run the replacement here or at a service, and print the outcome."""
    settings = context_of(ctx).settings()
    text_fields, batch_size = settings.embedding.text_fields, settings.worker.batch_size

    async def replace_all(parts: "ServiceParts") -> None:
        if isinstance(parts, Remote):  # a service's ingestion takes raw lines
            replacement = cast("SourceReplacement", parts.ingestion())
        else:
            ingestion = cast("IngestionService", parts.ingestion())
            replacement = NearReplacement(ingestion, parts.files_lane(), text_fields, batch_size)
        await _with_remarks(job, job.run(parts, replacement, text_fields))

    missing = IfMissing.IMAGINE if job.report.dry_run else IfMissing.CREATE
    interrupted = Interruption()
    try:
        with interrupted:
            run_at(ctx, api, replace_all, near=near, missing=missing)
    finally:
        if interrupted.happened:
            job.say_interrupted()
            say_run(ctx, api, job.report.project, job.report.run_id)
    _print(job.report, context_of(ctx).text_rules(), as_json=as_json, remote=job.report.is_remote)
    if not as_json:
        say_run(ctx, api, job.report.project, job.report.run_id)


async def _with_remarks(job: FileReplacement, running: Awaitable[None]) -> None:
    """Await the replacement; if it fails half-way, say how many sources are replaced."""
    try:
        await running
    except AgentStorageError as error:
        report = job.report
        if report.sources and not report.dry_run:
            before = "" if not isinstance(error, Conflict | InvalidInput) else "; no others were changed"
            note(f"Replaced {counted(len(report.sources), 'source')} before the error{before}.")
        if isinstance(error, ServiceError) and report.unit != "line":
            note(
                f"A line in the service's message is {'an' if report.unit == 'element' else 'a'} {report.unit} of the file."
            )
        raise
    finally:
        for warning in job.report.warnings:
            note(f"Warning: {warning}.")
        for remark in job.report.remarks:
            note(printable(remark))


def _print_facts(report: _Report, rules: "TextRules") -> None:
    """List the first facts that a dry run would change."""
    found = [(source.source_uri, fact) for source in report.sources for fact in source.facts or ()]
    if not found:
        return
    print_table(
        ("change", "text", "source and id"),
        [
            (fact.kind, shown_text(fact.extraction_type, fact.data, rules)[:_LONGEST_TEXT], (uri, str(fact.id)))
            for uri, fact in found[:_MOST_SHOWN]
        ],
        whole=("source and id",),
    )
    more = sum(report.total(name) for name in _CHANGED) - min(len(found), _MOST_SHOWN)
    if more > 0:
        note(
            f"And {more:,} more; --json lists {'all' if more + _MOST_SHOWN == len(found) else f'{len(found):,}'}."
        )


def _print(report: _Report, rules: "TextRules", *, as_json: bool, remote: bool) -> None:
    if as_json:
        print_json(_as_dict(report))
        return
    totals = ", ".join(f"{report.total(name):,} {name}" for name in _TOTALS)
    sources = counted(len(report.sources), "source")
    if report.dry_run:
        say(f"Would replace {sources} of project {report.project}: {totals}. Nothing was changed.")
        _print_facts(report, rules)
        return
    say(f"Replaced {sources} of project {report.project} in {report.seconds:.1f} s: {totals}.")
    if report.indexed:
        say_indexed(report.indexed)
    if report.set_aside:
        say(f"Set aside {report.set_aside:,}: they can't be embedded.")
    if waiting := max(0, report.total("added") - report.indexed - report.set_aside):
        say_waiting(waiting, remote=remote)


def _as_dict(report: _Report) -> dict[str, Any]:
    return {
        "project": report.project,
        "dry_run": report.dry_run,
        "run_id": report.run_id,
        **{name: report.total(name) for name in _TOTALS},
        "sources": [replaced_source_as_dict(each) for each in report.sources],
        "jobs": report.jobs,
        "indexed": report.indexed,
        "set_aside": report.set_aside,
        "warnings": list(report.warnings),
        "seconds": round(report.seconds, 3),
    }
