"""Ingestion over HTTP: a JSON list as a whole, or NDJSON in batches with bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response

from app.api.bodies import CLOSING, NDJSON, media_type
from app.api.item_bodies import ITEMS, items_of, line_batches
from app.api.keys import is_a_key
from app.api.parts import ApiOptions
from app.api.problems import Refused
from app.api.request_runs import RequestRun
from app.api.spooled_answer import SpooledAnswer
from app.api.waiting import Wait, status_of, waited_as_json
from app.domain.ids import JobId, RunId
from app.domain.items import Item, parse_item
from app.domain.outcomes import Accepted, Waited
from app.errors import InvalidField, InvalidInput, InvalidItem
from app.intake.json_lines import decoded_line
from app.services.ingestion import RequestPart


class Intake:
    """One request that ingests extractions."""

    def __init__(self, options: ApiOptions, run: RequestRun, wait: Wait) -> None:
        self._options = options
        self._run = run
        self._wait = wait
        self._lane = run.parts.files_lane()
        self._report = _Report()
        self._batches = 0

    async def take(self, request: Request) -> Response:
        """Ingest the body, JSON or NDJSON.

        Raises:
            InvalidInput: an item of the JSON list is invalid; nothing was stored.
            Refused: the media type is neither, or a line of NDJSON is invalid; the lines before it
                are stored, as the problem says.
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
                return await self._take_json(await request.body())
            case media if media == NDJSON:
                return await self._take_ndjson(request)
        raise Refused(415, "media-type", f"the body must be application/json or {NDJSON}")

    async def _take_json(self, body: bytes) -> Response:
        """Store all of ``{"extractions": [...]}`` in one transaction, or nothing."""
        accepted = await self._store(await self._lane.run(self._parse_list, body))
        return await self._answer(accepted)

    async def _take_ndjson(self, request: Request) -> Response:
        """Store the lines in batches, each in its own transaction."""
        first = 0
        async for lines in line_batches(request, self._options.batch_size):
            items, fault = await self._lane.run(self._parse_lines, [line for _, line in lines], first)
            if items:
                await self._lane.run(self._report.add, await self._store(items), exempt_from_max_waiting=True)
            if fault is not None:
                raise self._stopped_at(fault)
            first += len(lines)
        if not self._batches:
            raise InvalidField(ITEMS, "the body has none")
        if self._run.key is not None:
            # The end counts as a part too, so that the key refuses a shorter or longer body.
            await self._store([])
        return await self._answer()

    async def _store(self, items: Sequence[Item]) -> Accepted:
        part = None if self._run.key is None else RequestPart(self._run.key, self._batches)
        run_id = await self._run.begin()
        accepted = await self._run.parts.ingestion().accept(self._run.project, items, part, run_id=run_id)
        self._batches += 1
        return accepted

    async def _answer(self, last: Accepted | None = None) -> Response:
        """Add the ``last`` batch and make the answer, in one thread hop to save time."""
        run_id = await self._run.end()
        jobs = self._report.jobs if last is None else last.job_ids
        waited = await self._wait.until_ended(jobs)
        size, body = await self._lane.run(
            self._report.finish, last, run_id, waited, exempt_from_max_waiting=True
        )
        return self._report.answer.response(size, body, self._lane, status_of(waited))

    def _stopped_at(self, fault: InvalidItem) -> Refused:
        stored = self._report.new + self._report.known
        field: dict[str, Any] = {} if fault.field is None else {"field": fault.field}
        detail = (
            f"item {fault.index}: {fault.reason}. The {stored:,} items before it are stored; "
            "fix it and send all again"
        )
        return Refused(422, "invalid-input", detail, headers=CLOSING, index=fault.index, stored=stored, **field)

    def _parse_list(self, body: bytes) -> list[Item]:
        return [self._parse(index, raw) for index, raw in enumerate(items_of(body, self._options.max_items))]

    def _parse_lines(self, lines: Sequence[bytes], first: int) -> tuple[list[Item], InvalidItem | None]:
        """Return the items before the first invalid line, and that line's error."""
        items: list[Item] = []
        for index, line in enumerate(lines, first):
            try:
                items.append(self._parse(index, decoded_line(line)))
            except InvalidItem as fault:
                return items, fault
            except InvalidInput as error:
                return items, InvalidItem(index, str(error))
        return items, None

    def _parse(self, index: int, raw: object) -> Item:
        try:
            return parse_item(raw, self._options.text_fields, self._options.item_limits)
        except InvalidField as error:
            raise InvalidItem(index, str(error), error.field) from None
        except InvalidInput as error:
            raise InvalidItem(index, str(error)) from None


@dataclass
class _Report:
    """The outcome of the items so far. For one thread at a time."""

    new: int = 0
    known: int = 0
    changed: int = 0
    jobs: list[JobId] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    answer: SpooledAnswer = field(default_factory=lambda: SpooledAnswer("items"))

    def add(self, accepted: Accepted) -> None:
        """Count a batch and record its items; of two equal items, the first is the new one."""
        fresh = set(accepted.new)
        items = []
        for id_ in accepted.ids:
            items.append({"id": id_, "new": id_ in fresh, "changed": id_ in accepted.changed})
            fresh.discard(id_)
        self.answer.add(items)
        self.new += len(accepted.new)
        self.known += len(accepted.ids) - len(accepted.new)
        self.changed += len(accepted.changed)
        self.jobs += accepted.job_ids
        self.warnings = accepted.warnings or self.warnings

    def finish(
        self, last: Accepted | None, run_id: RunId | None, waited: Waited | None
    ) -> tuple[int, bytes | None]:
        """Add the last batch and write the remaining members; see :meth:`SpooledAnswer.finish`."""
        if last is not None:
            self.add(last)
        rest = {
            "new": self.new,
            "known": self.known,
            "changed": self.changed,
            "jobs": self.jobs,
            "job_id": self.jobs[-1] if self.jobs else None,
            "run_id": run_id,
            "waited": waited_as_json(waited),
            "warnings": self.warnings,
        }
        return self.answer.finish(rest)


def checked_key(key: str | None, api_keys: Sequence[str]) -> str | None:
    """Validate an ``Idempotency-Key``.

    Raises:
        InvalidField: the key isn't 1 to 255 printable ASCII characters, or is one of ``api_keys``,
            which must never be stored.
    """
    if key is None:
        return None
    if is_a_key(key.encode(), api_keys):
        raise InvalidField("Idempotency-Key", "is one of the service's keys; send that as X-API-Key")
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():  # noqa: PLR2004 - as documented
        raise InvalidField("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return key
