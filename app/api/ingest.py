"""Taking extractions in: a JSON list as a whole, or NDJSON a batch at a time in bounded memory."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import orjson
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.json_list import take_apart
from app.api.middleware import CLOSING, NDJSON, in_turns, is_a_key, media_type
from app.api.parts import ApiOptions, ApiParts
from app.api.problems import Refused
from app.domain.ids import JobId
from app.domain.items import Item, parse_item
from app.domain.outcomes import Accepted
from app.errors import InvalidField, InvalidInput, InvalidItem
from app.executor import Lane
from app.intake.exact_json import decode
from app.intake.json_lines import BOM, MAX_BATCH_BYTES, MAX_LINE_BYTES
from app.services.ingestion import RequestPart

_IN_MEMORY_BYTES = 4 * 2**20
_PIECE_BYTES = 256 * 2**10
_ITEMS = "extractions"
_WHOLE_BYTES = 64 * 2**10
"""A longer list is parsed item by item: a parser lets no other thread run until it is done."""


class Intake:
    """One request that hands extractions in."""

    def __init__(self, parts: ApiParts, options: ApiOptions, project: str, key: str | None) -> None:
        self._parts = parts
        self._options = options
        self._project = project
        self._key = key
        self._lane = parts.files_lane()
        self._report = _Report()
        self._batches = 0

    async def take(self, request: Request) -> Response:
        """Take the body in, whichever of the two it is.

        Raises:
            InvalidInput: what can't be accepted, by its index; nothing was stored.
            Refused: it is neither, or a line can't be accepted; the lines before that are stored, as the problem says.
        """
        try:
            return await self._take(request)
        except BaseException:
            self._report.close()
            raise

    async def _take(self, request: Request) -> Response:
        match media_type(request.headers):
            case "application/json":
                return await self._take_json(await request.body())
            case media if media == NDJSON:
                return await self._take_ndjson(request)
        raise Refused(415, "media-type", f"the body must be application/json or {NDJSON}")

    async def _take_json(self, body: bytes) -> Response:
        """All of ``{"extractions": [...]}`` in one transaction, or nothing."""
        accepted = await self._store(await self._lane.run(self._parse_list, body))
        return await self._answer(accepted)

    async def _take_ndjson(self, request: Request) -> Response:
        """Line by line, each batch in a transaction of its own."""
        first = 0
        async for lines in _batches(request, self._options.batch_size):
            items, fault = await self._lane.run(self._parse_lines, lines, first)
            if items:
                await self._lane.run(self._report.add, await self._store(items), exempt_from_max_waiting=True)
            if fault is not None:
                raise self._stopped_at(fault)
            first += len(lines)
        if not self._batches:
            raise InvalidField(_ITEMS, "there is none")
        if self._key is not None:
            # The end is a part too, so that under its key no shorter or longer body passes.
            await self._store([])
        return await self._answer()

    async def _store(self, items: Sequence[Item]) -> Accepted:
        part = None if self._key is None else RequestPart(self._key, self._batches)
        accepted = await self._parts.ingestion().accept(self._project, items, part)
        self._batches += 1
        return accepted

    async def _answer(self, last: Accepted | None = None) -> Response:
        """The report, with the ``last`` batch added to it; one hop in all, because every request takes it."""
        size, body = await self._lane.run(self._report.finish, last, exempt_from_max_waiting=True)
        if body is None:
            return _ReportResponse(self._report, self._lane, size)
        self._report.close()
        return Response(body, 202, media_type="application/json")

    def _stopped_at(self, fault: InvalidItem) -> Refused:
        stored = self._report.new + self._report.known
        field: dict[str, Any] = {} if fault.field is None else {"field": fault.field}
        detail = f"item {fault.index}: {fault.reason}. The {stored:,} before it are stored; mend it and send all again"
        return Refused(422, "invalid-input", detail, headers=CLOSING, index=fault.index, stored=stored, **field)

    def _parse_list(self, body: bytes) -> list[Item]:
        return [self._parse(index, raw) for index, raw in enumerate(self._decoded(body.removeprefix(BOM)))]

    def _decoded(self, body: bytes) -> Iterable[object]:
        """What stands in the list: a long one is decoded item by item, and so is one of which an item can't be."""
        apart = None
        if len(body) <= _WHOLE_BYTES:
            try:
                raws = _list_of(decode(body))
            except InvalidInput:
                apart = take_apart(body)
                if apart is None:
                    raise
            else:
                self._check_count(len(raws))
                return raws
        apart = apart or take_apart(body)
        if apart is None or len(apart.rest) > _WHOLE_BYTES:
            raise _nothing_else()
        _list_of(decode(apart.rest))
        self._check_count(len(apart.items))
        return (_decoded_item(index, body[place]) for index, place in enumerate(apart.items))

    def _check_count(self, items: int) -> None:
        if not items:
            raise InvalidField(_ITEMS, "must be an array of at least one extraction")
        if items > self._options.max_items:
            raise InvalidField(_ITEMS, f"has {items:,} items; at most {self._options.max_items:,} are allowed")

    def _parse_lines(self, lines: Sequence[bytes], first: int) -> tuple[list[Item], InvalidItem | None]:
        """The items before the first bad line, and what is wrong with it."""
        items: list[Item] = []
        for index, line in enumerate(lines, first):
            try:
                if len(line) > MAX_LINE_BYTES:
                    raise InvalidInput(f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB")  # noqa: TRY301 - as the others
                items.append(self._parse(index, decode(line)))
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
    """What became of the items so far, in JSON; on disk once it is long. For one thread at a time."""

    new: int = 0
    known: int = 0
    changed: int = 0
    jobs: list[JobId] = field(default_factory=list)
    _file: IO[bytes] = field(default_factory=lambda: SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - `close` does

    def __post_init__(self) -> None:
        self._file.write(b'{"items":[')

    def add(self, accepted: Accepted) -> None:
        """Count a batch and note its items; of two that are the same, the first is the new one."""
        fresh = set(accepted.new)
        items = []
        for id_ in accepted.ids:
            items.append({"id": id_, "new": id_ in fresh, "changed": id_ in accepted.changed})
            fresh.discard(id_)
        separator = b"," if items and self.new + self.known else b""
        self._file.write(separator + orjson.dumps(items)[1:-1])
        self.new += len(accepted.new)
        self.known += len(accepted.ids) - len(accepted.new)
        self.changed += len(accepted.changed)
        self.jobs += accepted.job_ids

    def finish(self, last: Accepted | None) -> tuple[int, bytes | None]:
        """Add the last batch, write the rest, and go back to the beginning.

        Returns how many bytes there are, and if they fit into memory, these.
        """
        if last is not None:
            self.add(last)
        job_id = self.jobs[-1] if self.jobs else None
        rest = {
            "new": self.new,
            "known": self.known,
            "changed": self.changed,
            "jobs": self.jobs,
            "job_id": job_id,
        }
        self._file.write(b"]," + orjson.dumps(rest)[1:])
        size = self._file.tell()
        self._file.seek(0)
        return size, self.read(size) if size <= _IN_MEMORY_BYTES else None

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        return self._file.read(size)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


class _ReportResponse(StreamingResponse):
    """A report too long for one piece. It is closed whether or not anybody still wants it."""

    def __init__(self, report: _Report, lane: Lane, size: int) -> None:
        self._report = report
        self._lane = lane
        super().__init__(self._pieces(), 202, {"content-length": str(size)}, "application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See :class:`StreamingResponse`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._report.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await self._lane.run(self._report.read, _PIECE_BYTES, exempt_from_max_waiting=True):
            yield piece


def _list_of(document: object) -> list[object]:
    if not isinstance(document, dict) or document.keys() != {_ITEMS}:
        raise _nothing_else()
    raws = document[_ITEMS]
    if not isinstance(raws, list):
        raise InvalidField(_ITEMS, "must be an array of at least one extraction")
    return raws


def _nothing_else() -> InvalidField:
    return InvalidField(_ITEMS, 'the body is {"extractions": [...]}, and nothing else')


def _decoded_item(index: int, text: bytes) -> object:
    if len(text) > MAX_LINE_BYTES:
        raise InvalidItem(index, f"it is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        return decode(text)
    except InvalidInput as error:
        raise InvalidItem(index, str(error)) from None


async def _batches(request: Request, size: int) -> AsyncIterator[list[bytes]]:
    """The lines that aren't blank, at most ``size`` or 16 MB at a time. Where they are cut depends on them alone.

    A line that is too long is cut short, so that it is refused and not kept.
    """
    lines: list[bytes] = []
    taken = 0
    async for line in _lines(request):
        lines.append(line)
        taken += len(line)
        if len(lines) == size or taken >= MAX_BATCH_BYTES:
            yield lines
            lines, taken = [], 0
    if lines:
        yield lines


async def _lines(request: Request) -> AsyncIterator[bytes]:
    rest, begun = bytearray(), False
    async for piece in _pieces(request):
        rest += piece
        if b"\n" not in piece and len(rest) <= MAX_LINE_BYTES:
            continue
        *whole, last = rest.split(b"\n")
        rest = last
        for line in whole:
            if line and (text := _text(line, first=not begun)):
                yield text
            begun = True
        if len(rest) > MAX_LINE_BYTES:
            # As it stands: one of blanks alone is refused too, and doesn't grow for ever.
            yield bytes(rest)
            return
    if text := _text(rest, first=not begun):
        yield text


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        async for piece in in_turns(chunk):
            yield piece


def _text(line: bytearray, *, first: bool) -> bytes:
    """A line without its end and, if it is the first, without a byte order mark; empty if it is blank."""
    return bytes((line.removeprefix(BOM) if first else line).strip())


def checked_key(key: str | None, api_keys: Sequence[str]) -> str | None:
    """An ``Idempotency-Key`` as it may be used.

    Raises:
        InvalidField: it isn't 1 to 255 characters that print, or is one of ``api_keys``, which nobody may store.
    """
    if key is None:
        return None
    if is_a_key(key.encode(), api_keys):
        raise InvalidField("Idempotency-Key", "is a key of the service's; that belongs into X-API-Key")
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():  # noqa: PLR2004 - as documented
        raise InvalidField("Idempotency-Key", "is 1 to 255 printable ASCII characters")
    return key
