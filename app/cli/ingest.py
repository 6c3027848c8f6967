"""``agent-storage ingest``."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import Api, Json, Near, at_home, context_of, run_at, to_the_end, usage_error
from app.cli.index_jobs import first_of, indexing_beside
from app.cli.ingest_report import Report, accepted_in, print_report, report_as_dict
from app.cli.input_file import (
    Constants,
    Ignored,
    InputFile,
    Mapped,
    Numbers,
    OfFormat,
    OfRest,
    Texts,
    mapping_of,
)
from app.cli.interruption import Interruption, say_interrupted
from app.cli.output import note, print_json, printable, progress
from app.cli.rejects import RejectsFile
from app.cli.replacing import FileReplacement, replace_file
from app.cli.request_run import OfRun, of_run, say_run
from app.cli.stores import IfMissing, is_remote, note_default_project
from app.domain.sources import ReplaceScope
from app.errors import InvalidInput

if TYPE_CHECKING:
    from rich.progress import Progress

    from app.cli.ports import FinishedJob, JobRunner, ServiceParts
    from app.domain.outcomes import Accepted
    from app.domain.sources import ReplaceOptions
    from app.intake.rows import RowBatch, RowReader

SOME_REFUSED = 3


def ingest(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            help="A file of JSON lines, a JSON array, CSV or Parquet, or - for standard input.",
            callback=at_home,
        ),
    ],
    project: Annotated[
        str, typer.Option("--project", "-p", help="The project to store them under.")
    ] = "default",
    skip_invalid: Annotated[
        bool,
        typer.Option("--skip-invalid", help="Skip bad lines and rows, and write them to the rejects file."),
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option(
            callback=at_home,
            help="Where --skip-invalid writes refused lines with their reasons. "
            "Default: FILE.rejects.jsonl, overwritten each time.",
        ),
    ] = None,
    replace: Annotated[
        ReplaceScope | None,
        typer.Option(
            help="Make the facts of each source exactly those in the file, and remove all others. "
            "With `project`, sources that the file doesn't name are emptied."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --replace: list what would change, and change nothing.")
    ] = False,
    allow_mass_delete: Annotated[
        bool,
        typer.Option(
            "--allow-mass-delete",
            help="With --replace: allow the removal of most facts of a source or of the project.",
        ),
    ] = False,
    observed_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="With --replace: when the sources were observed, such as 2026-01-31T08:30:00Z. An observation older than "
            "the stored one is refused. Default: now.",
        ),
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="NAME", help="Record the changes as a run, which can be undone.")
    ] = None,
    run_meta: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="Metadata to store with the run. Repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
    format_: OfFormat = None,
    mapped: Mapped = [],  # noqa: B006 - likewise
    constants: Constants = [],  # noqa: B006 - likewise
    rest: OfRest = None,
    ignored: Ignored = [],  # noqa: B006 - likewise
    texts: Texts = [],  # noqa: B006 - likewise
    numbers: Numbers = [],  # noqa: B006 - likewise
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Store, embed and index extractions, each once.

    Each line of JSON, or element of a JSON array, is an object with `source_uri`,
    `extraction_type` and `data` (an object), and optionally `source_group`, `confidence` (0 to 1)
    and `metadata` (an object). If the extraction is already stored, the optional fields are
    updated. In CSV and Parquet, each row is an extraction. Its columns are named after these fields
    (`data.price` is the member `price` of `data`), or mapped to them by --map.

    With `--replace`, the lines of each source must be adjacent. They replace all its facts, and
    `{"source_uri": "…", "gone": true}` empties a source.
    """
    hands_in = of_run(run, run_meta)
    source = InputFile(file, format_, mapping_of(mapped, constants, rest, ignored, texts, numbers))
    options = _options(replace, observed_at, dry_run=dry_run, allow_mass_delete=allow_mass_delete)
    source.require()
    note_default_project(ctx, context_of(ctx).settings(), api)
    if options is not None:
        if skip_invalid:
            usage_error(
                "with --replace, --skip-invalid would remove the facts of skipped lines; correct the file instead"
            )
        replace_file(ctx, api, FileReplacement(project, source, options, hands_in), near=near, as_json=as_json)
        return
    if rejects is not None and os.path.lexists(rejects):
        usage_error(f"--rejects {rejects}: the file exists and isn't overwritten; name another file")
    usual = Path("rejects.jsonl" if file == "-" else f"{file}.rejects.jsonl")
    rejects_file = RejectsFile(rejects or usual, replaces=rejects is None) if skip_invalid else None
    job = _Ingest(Report(project), source, rejects_file, hands_in)
    settings = context_of(ctx).settings()
    interrupted = Interruption()
    try:
        with interrupted:
            run_at(
                ctx,
                api,
                lambda parts: job.run(parts, settings.embedding.text_fields, settings.worker.batch_size),
                near=near,
                missing=IfMissing.CREATE,
            )
    finally:
        _say_remarks(job.report)
        if interrupted.happened:
            say_interrupted(accepted_in(job.report), from_stdin=source.is_stdin)
        elif not as_json:
            print_report(job.report)
        if not as_json:
            say_run(ctx, api, project, job.report.run_id)
        if as_json:
            print_json(report_as_dict(job.report))
    if job.report.first_reject is not None:
        raise typer.Exit(SOME_REFUSED if skip_invalid else 1)


def _say_remarks(report: Report) -> None:
    for warning in report.warnings:
        note(f"Warning: {warning}.")
    for remark in report.remarks:
        note(printable(remark))


def _options(
    scope: ReplaceScope | None, observed_at: str | None, *, dry_run: bool, allow_mass_delete: bool
) -> "ReplaceOptions | None":
    """How to replace; None for a plain ingest."""
    from app.domain.sources import ReplaceOptions, parse_observed_at

    if scope is None:
        given = {"--observed-at": observed_at, "--dry-run": dry_run, "--allow-mass-delete": allow_mass_delete}
        if alone := [name for name, value in given.items() if value]:
            usage_error(f"{alone[0]} requires --replace source or --replace project")
        return None
    try:
        moment = None if observed_at is None else parse_observed_at(observed_at)
    except InvalidInput as error:
        usage_error(str(error))
    return ReplaceOptions(scope, moment, dry_run=dry_run, allow_mass_delete=allow_mass_delete)


class _Ingest:
    """One run of the command: reads and stores batches, and indexes them concurrently."""

    def __init__(self, report: Report, source: InputFile, rejects: RejectsFile | None, hands_in: OfRun) -> None:
        """With a file for ``rejects``, bad lines are skipped and written to it."""
        self.report = report
        self._source = source
        self._rejects = rejects
        self._of_run = hands_in
        self._unreadable: InvalidInput | None = None

    async def run(self, parts: "ServiceParts", text_fields: tuple[str, ...], batch_size: int) -> None:
        self.report.is_remote = is_remote(parts)
        with ExitStack() as stack:
            skip_invalid = self._rejects is not None
            reader = stack.enter_context(self._source.open(text_fields, skip_invalid=skip_invalid))
            self.report.unit = reader.unit
            await parts.files_lane().run(reader.begin)
            if self._rejects is not None:
                await parts.files_lane().run(self._rejects.check)
                stack.callback(self._rejects.close)
            await parts.indexing().prepare()
            worker = parts.worker()
            await worker.recover()
            display = stack.enter_context(progress())
            started = time.monotonic()
            try:
                await self._store_and_index(parts, worker, reader, batch_size, _Bars(display, reader))
            except ExceptionGroup as errors:
                raise first_of(errors) from None
            finally:
                self.report.seconds = time.monotonic() - started
                self.report.remarks = reader.remarks
                await self._of_run.end(parts, self.report.project)

    async def _store_and_index(
        self, parts: "ServiceParts", worker: "JobRunner", reader: "RowReader", batch_size: int, bars: "_Bars"
    ) -> None:
        """Read and store all batches, and index them concurrently."""

        def ended(job: "FinishedJob") -> None:
            result = job.result or {}
            self.report.indexed += result.get("indexed", 0)
            self.report.set_aside += result.get("set_aside", 0)
            self.report.cut += result.get("cut", 0)
            bars.show(self.report)

        async with indexing_beside(worker, ended) as queued:
            async for batch in self._batches(parts, reader, batch_size):
                await queued(await self._take(parts, batch))
                bars.show(self.report)
                if self.report.refused and self._rejects is None:
                    break
        if self._unreadable is not None:
            raise self._unreadable
        if self._nothing_read():
            raise InvalidInput(f"{reader.name} holds no extraction: it is empty")

    async def _batches(
        self, parts: "ServiceParts", reader: "RowReader", size: int
    ) -> "AsyncIterator[RowBatch]":
        """Yield batches up to the first input error.

        The error is kept, and raised once the batches before it are stored and indexed.
        """
        try:
            while (batch := await parts.files_lane().run(reader.next_batch, size)) is not None:
                yield batch
        except InvalidInput as fault:
            self._unreadable = fault

    async def _take(self, parts: "ServiceParts", batch: "RowBatch") -> int:
        """Store a batch; returns how many jobs it queued."""
        if batch.rejects:
            self.report.refused += len(batch.rejects)
            self.report.first_reject = self.report.first_reject or batch.rejects[0]
            if self._rejects is not None:
                await parts.files_lane().run(self._rejects.write, batch.rejects)
                self.report.rejects_file = str(self._rejects.path)
        if not batch.items:
            return 0
        run_id = self.report.run_id = await self._of_run.begin(parts, self.report.project)

        async def store() -> "Accepted":
            accepted = await parts.ingestion().accept(self.report.project, batch.items, run_id=run_id)
            self._count(accepted)
            return accepted

        return len((await to_the_end(store())).job_ids)

    def _count(self, accepted: "Accepted") -> None:
        self.report.stored += len(accepted.new)
        self.report.known += len(accepted.ids) - len(accepted.new)
        self.report.changed += len(accepted.changed)
        self.report.warnings = accepted.warnings or self.report.warnings

    def _nothing_read(self) -> bool:
        return not (self.report.stored or self.report.known or self.report.refused)


class _Bars:
    """The progress display: bytes read, and how many of the stored extractions are indexed."""

    def __init__(self, display: "Progress", reader: "RowReader") -> None:
        self._display = display
        self._reader = reader
        self._read = display.add_task("read, bytes", total=reader.size_bytes)
        self._indexed = display.add_task("indexed", total=None)

    def show(self, report: Report) -> None:
        self._display.update(self._read, completed=self._reader.position_bytes)
        self._display.update(self._indexed, completed=report.indexed, total=report.stored)
