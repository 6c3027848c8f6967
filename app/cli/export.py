"""``agent-storage export``."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from app.cli.context import DEFAULT_PROJECT, Api, InProject, at_home, run_at, to_the_end, usage_error
from app.cli.filtering import WantedExtractions, takes_filters, warn
from app.cli.output import counted, note, progress
from app.domain.export import ExportFormat
from app.errors import ExportFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.cli.ports import ServiceParts
    from app.domain.export import ExportPage, ExportRows
    from app.executor import Lane
    from app.services.export.formats import Encoder

_GZIP = ".gz"


@takes_filters
def export(
    ctx: typer.Context,
    *,
    project: InProject = DEFAULT_PROJECT,
    wanted: WantedExtractions,
    form: Annotated[
        ExportFormat,
        typer.Option("--format", help="JSON lines, which `ingest` accepts, or columns as CSV or Parquet."),
    ] = ExportFormat.JSONL,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            callback=at_home,
            help="Write to FILE, which appears only once it is complete; compressed if its name ends in .gz. Default: "
            "standard output.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Resume an interrupted export after the cursor that it printed."),
    ] = None,
    api: Api = None,
) -> None:
    """Export a project's extractions, ordered by id.

    Each page of at most 1,000 is read from one snapshot. The export may or may not include what is
    stored or deleted meanwhile.
    """
    if form is ExportFormat.PARQUET:
        if output is not None and output.suffix == _GZIP:
            usage_error("Parquet is already compressed; give --output a name without .gz")
        if output is None and sys.stdout.isatty():
            usage_error("Parquet can't be written to a terminal; name a file with --output")
    job = _Export(project, wanted, form, output, after)
    run_at(ctx, api, job.run, index=False)


class _Target(Protocol):
    """The export's destination; see :class:`app.cli.part_file.PartFile`."""

    def write(self, piece: bytes) -> None:
        """Append bytes."""
        ...

    def finish(self) -> None:
        """Close the complete export."""
        ...

    def close(self) -> None:
        """Close an incomplete export, which stays readable."""
        ...

    def discard(self) -> None:
        """Delete an export that can't be written."""
        ...


class _StandardOutput:
    """Standard output; only the exit code tells whether the export is complete."""

    def write(self, piece: bytes) -> None:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    def finish(self) -> None:
        """A no-op: everything is written already."""

    close = discard = finish


class _Export:
    """One run of the command."""

    def __init__(
        self,
        project: str,
        wanted: WantedExtractions,
        form: ExportFormat,
        output: Path | None,
        after: str | None,
    ) -> None:
        self._project = project
        self._wanted = wanted
        self._form = form
        self._output = output
        self._cursor = after
        self._written = 0

    async def run(self, parts: "ServiceParts") -> None:
        lane = parts.files_lane()
        encoder = await lane.run(self._open_encoder)
        filters = await self._wanted.of_project(parts, self._project)
        await warn(parts, self._project, filters)
        with progress(shown=self._output is not None or not sys.stdout.isatty()) as display:
            total = None
            if self._cursor is None and not display.disable:  # counting can be as slow as reading
                total = await parts.extractions().count(self._project, filters)
            bar = display.add_task("exported", total=total)
            pages = parts.export().pages(self._project, filters, after=self._cursor)
            first = await anext(pages)  # before the file is created, because this may be refused
            writing = _Writing(lane, encoder, self._output)
            try:
                await to_the_end(writing.begin())
                await self._write(writing, first, pages, lambda: display.update(bar, completed=self._written))
            except OSError as error:
                await writing.discard()
                if self._output is None:  # the entry point reports errors of standard output
                    raise
                raise ExportFailed(str(self._output), error.strerror or str(error)) from error
            except BaseException:
                if writing.has_begun:
                    with suppress(OSError):
                        await to_the_end(writing.break_off())
                    self._tell_place()
                raise
        self._tell_end()

    def _open_encoder(self) -> "Encoder":
        from app.services.export.formats import encoder_of

        gzipped = self._output is not None and self._output.suffix == _GZIP
        return encoder_of(self._form, goes_on=self._cursor is not None, gzipped=gzipped)

    async def _write(
        self,
        writing: "_Writing",
        first: "ExportPage",
        following: "AsyncIterator[ExportPage]",
        show: Callable[[], None],
    ) -> None:
        """Write all pages; a started page is always completed, so that the cursor is correct."""
        await to_the_end(self._take(writing, first))
        show()
        async for page in following:
            await to_the_end(self._take(writing, page))
            show()
        await to_the_end(writing.finish())

    async def _take(self, writing: "_Writing", page: "ExportPage") -> None:
        await writing.add(page.rows)
        self._written += len(page.rows)
        self._cursor = page.cursor or self._cursor

    def _tell_end(self) -> None:
        where = "" if self._output is None else f" to {self._output}"
        note(f"Exported {counted(self._written, 'extraction')} of project {self._project}{where}; that is all.")

    def _tell_place(self) -> None:
        part = "" if self._output is None else f" to {self._output}.part"
        goes_on = "" if self._cursor is None else f" `--after {self._cursor}` resumes after them."
        note(f"Interrupted: {counted(self._written, 'extraction')} were written{part}.{goes_on}")


class _Writing:
    """Encodes and writes pages on a thread of the files lane."""

    def __init__(self, lane: "Lane", encoder: "Encoder", output: Path | None) -> None:
        self.has_begun = False
        self._lane = lane
        self._encoder = encoder
        self._output = output
        self._target: _Target = _StandardOutput()

    async def begin(self) -> None:
        """Create the file.

        Raises:
            InvalidInput: the file can't be created.
        """
        from app.cli.part_file import PartFile

        if self._output is not None:
            self._target = await self._lane.run(PartFile, self._output)
        self.has_begun = True

    async def add(self, rows: "ExportRows") -> None:
        await self._lane.run(lambda: self._target.write(self._encoder.page(rows)))

    async def finish(self) -> None:
        await self._lane.run(self._end, self._target.finish)

    async def break_off(self) -> None:
        """Close the incomplete file, which stays readable."""
        await self._lane.run(self._end, self._target.close)

    async def discard(self) -> None:
        """Delete a file that can't be written."""
        await self._lane.run(self._target.discard)

    def _end(self, leave: Callable[[], None]) -> None:
        self._target.write(self._encoder.end())
        leave()
