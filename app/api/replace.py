"""Replaces over HTTP: a JSON list as a whole, or NDJSON in batches of whole sources."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fastapi import Request, Response

from app.api.bodies import CLOSING, NDJSON, media_type
from app.api.item_bodies import ITEMS, items_of, line_batches
from app.api.parts import ApiOptions
from app.api.problems import Refused, kind_of
from app.api.request_runs import RequestRun
from app.api.spooled_answer import SpooledAnswer
from app.api.waiting import Wait, status_of, waited_as_json
from app.domain.documents import replaced_source_as_dict
from app.domain.ids import JobId, RunId
from app.domain.outcomes import Counts, Replaced, Waited
from app.domain.sources import ReplaceOptions, SourceFacts
from app.errors import Conflict, InvalidField, InvalidInput
from app.intake.source_lines import SourceLines
from app.services.ingestion import ReplaceStream


class Replacement:
    """One request that replaces the facts of sources."""

    def __init__(self, options: ApiOptions, run: RequestRun, replacing: ReplaceOptions, wait: Wait) -> None:
        self._run = run
        self._wait = wait
        self._batch_size = options.batch_size
        self._max_items = options.max_items
        self._replacing = replacing
        self._lane = run.parts.files_lane()
        self._report = _Report(replacing.dry_run)
        self._sources = SourceLines(options.batch_size, options.text_fields, options.item_limits)
        self._opened: ReplaceStream | None = None

    async def take(self, request: Request) -> Response:
        """Read the body, JSON or NDJSON, and replace its sources.

        Raises:
            InvalidInput: a line is invalid; nothing was changed.
            Refused: the media type is neither, or a line of NDJSON is invalid; the sources replaced
                before it stay so, as the problem says.
            StaleReplace, MassDeleteRefused: a source, or the project, can't be replaced.
        """
        try:
            return await self._take(request)
        except BaseException:
            self._report.answer.close()
            await self._run.give_up()
            raise

    async def _take(self, request: Request) -> Response:
        match media_type(request.headers):
            case "application/json":
                sources = await self._lane.run(self._parse_list, await request.body())
                stream = await self._stream()
                await self._add(await stream.take(sources, finishing=True))
            case media if media == NDJSON:
                await self._take_ndjson(request)
            case _:
                raise Refused(415, "media-type", f"the body must be application/json or {NDJSON}")
        run_id = await self._run.end()
        waited = await self._wait.until_ended(self._report.jobs)
        size, body = await self._lane.run(self._report.finish, run_id, waited, exempt_from_max_waiting=True)
        status = 200 if self._replacing.dry_run else status_of(waited)
        return self._report.answer.response(size, body, self._lane, status)

    async def _take_ndjson(self, request: Request) -> None:
        any_line = False
        try:
            async for lines in line_batches(request, self._batch_size):
                any_line = True
                await self._replace(await self._lane.run(self._sources.take_lines, lines))
            if not any_line:
                raise InvalidField(ITEMS, "the body has none")
            last = self._sources.end()
            stream = await self._stream()
            # In one transaction with the end, so that a refusal of a small body changes nothing.
            await self._add(await (stream.take(last, finishing=True) if last else stream.finish()))
        except (Conflict, InvalidInput) as error:
            raise self._stopped_at(error) from None

    async def _replace(self, batches: Sequence[Sequence[SourceFacts]]) -> None:
        for sources in batches:
            await self._add(await (await self._stream()).take(sources))

    async def _add(self, replaced: Replaced) -> None:
        await self._lane.run(self._report.add, replaced, exempt_from_max_waiting=True)

    async def _stream(self) -> ReplaceStream:
        """Return the stream; it is opened with the first write, because that begins the run."""
        if self._opened is None:
            run_id = None if self._replacing.dry_run else await self._run.begin()
            options = replace(self._replacing, run_id=run_id)
            self._opened = self._run.parts.ingestion().replacing(self._run.project, options, key=self._run.key)
        return self._opened

    def _parse_list(self, body: bytes) -> list[SourceFacts]:
        """Parse whole sources; an item's line is its place in the list, counted from 1."""
        for number, raw in enumerate(items_of(body, self._max_items), 1):
            self._sources.take(number, raw)
        return self._sources.end()

    def _stopped_at(self, error: Conflict | InvalidInput) -> Exception:
        """Add to the error how many sources have been replaced, if any."""
        if not self._report.sources:
            return error
        kind = kind_of(error)
        extensions = {"replaced_sources": self._report.sources, **_place_of(error)}
        detail = f"{error}. The {self._report.sources:,} sources before it are replaced; no other was changed"
        return Refused(kind.status, kind.slug, detail, headers=CLOSING, **extensions)


@dataclass
class _Report:
    """The outcome of the sources so far. For one thread at a time."""

    dry_run: bool
    sources: int = 0
    counts: Counts = field(default_factory=Counts)
    jobs: list[JobId] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    answer: SpooledAnswer = field(default_factory=lambda: SpooledAnswer("sources"))

    def add(self, replaced: Replaced) -> None:
        """Count what a transaction has replaced, and record its sources."""
        self.answer.add(list(map(replaced_source_as_dict, replaced.sources)))
        self.sources += len(replaced.sources)
        self.counts += replaced.counts
        self.jobs += replaced.job_ids
        self.warnings = replaced.warnings or self.warnings

    def finish(self, run_id: RunId | None, waited: Waited | None) -> tuple[int, bytes | None]:
        """Write the remaining members; see :meth:`SpooledAnswer.finish`."""
        job_id = self.jobs[-1] if self.jobs else None
        rest = {
            "jobs": self.jobs,
            "job_id": job_id,
            "run_id": run_id,
            "dry_run": self.dry_run,
            "waited": waited_as_json(waited),
            "warnings": self.warnings,
        }
        return self.answer.finish({**asdict(self.counts), **rest})


def _place_of(error: Conflict | InvalidInput) -> dict[str, Any]:
    members = {name: getattr(error, name, None) for name in ("line", "field", "first_line")}
    return {name: value for name, value in members.items() if value is not None}
