"""Taking extractions in: a JSON list as a whole, or NDJSON a batch at a time in bounded memory."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import orjson
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.api.parts import ApiOptions, Parts
from app.api.problems import Refused
from app.errors import InvalidField, InvalidInput, InvalidItem
from app.models import JobId
from app.services.ingestion import Accepted, RequestPart
from app.services.items import Item, parse_item
from app.services.reading import MAX_BATCH_BYTES, MAX_LINE_BYTES, decode

_IN_MEMORY_BYTES = 4 * 2**20
_PIECE_BYTES = 256 * 2**10
_ITEMS = "extractions"


class Intake:
    """One request that hands extractions in."""

    def __init__(self, parts: Parts, options: ApiOptions, project: str, key: str | None) -> None:
        self._parts = parts
        self._options = options
        self._project = project
        self._key = key
        self._report = _Report()
        self._batches = 0

    async def take_json(self, body: bytes) -> Response:
        """All of ``{"extractions": [...]}`` in one transaction, or nothing.

        Raises:
            InvalidInput: what can't be accepted, by its index.
        """
        lane = self._parts.files_lane()
        items = await lane.run(self._parse_list, body)
        return await self._store_last(items)

    async def take_ndjson(self, request: Request) -> Response:
        """Line by line, each batch in a transaction of its own.

        Raises:
            Refused: a line can't be accepted; the lines before it are stored, as the problem says.
        """
        lane = self._parts.files_lane()
        first = 0
        async for lines in _batches(request, self._options.batch_size):
            items, fault = await lane.run(self._parse_lines, lines, first)
            if items:
                await self._store(items)
            if fault is not None:
                raise self._stopped_at(fault)
            first += len(lines)
        if not self._batches:
            raise InvalidField(_ITEMS, "there is none")
        return await self._answer()

    async def _store_last(self, items: Sequence[Item]) -> Response:
        await self._store(items)
        return await self._answer()

    async def _store(self, items: Sequence[Item]) -> None:
        part = None if self._key is None else RequestPart(self._key, self._batches)
        accepted = await self._parts.ingestion().accept(self._project, items, part)
        self._batches += 1
        await self._parts.files_lane().run(self._report.add, accepted)

    async def _answer(self) -> Response:
        report, lane = self._report, self._parts.files_lane()
        size = await lane.run(report.finish)
        if size <= _IN_MEMORY_BYTES:
            body = await lane.run(report.read, size)
            report.close()
            return Response(body, 202, media_type="application/json")

        async def pieces() -> AsyncIterator[bytes]:
            try:
                while piece := await lane.run(report.read, _PIECE_BYTES):
                    yield piece
            finally:
                report.close()

        return StreamingResponse(pieces(), 202, {"content-length": str(size)}, "application/json")

    def _stopped_at(self, fault: InvalidItem) -> Refused:
        stored = self._report.new + self._report.known
        self._report.close()
        field: dict[str, Any] = {} if fault.field is None else {"field": fault.field}
        detail = f"line {fault.index + 1}: {fault.reason}. The {stored:,} before it are stored; mend it and send all again"
        return Refused(422, "invalid-input", detail, index=fault.index, stored=stored, **field)

    def _parse_list(self, body: bytes) -> list[Item]:
        document = decode(body)
        if not isinstance(document, dict) or document.keys() != {_ITEMS}:
            raise InvalidField(_ITEMS, 'the body is {"extractions": [...]}, and nothing else')
        raws = document[_ITEMS]
        if not isinstance(raws, list) or not raws:
            raise InvalidField(_ITEMS, "must be an array of at least one extraction")
        if len(raws) > self._options.max_items:
            raise InvalidField(
                _ITEMS, f"has {len(raws):,} items; at most {self._options.max_items:,} are allowed"
            )
        return [self._parse(index, raw) for index, raw in enumerate(raws)]

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
    jobs: list[JobId] = field(default_factory=list)
    _file: IO[bytes] = field(default_factory=lambda: SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - `close` does

    def add(self, accepted: Accepted) -> None:
        """Count a batch and note its items."""
        items = [{"id": id_, "new": id_ in accepted.new} for id_ in accepted.ids]
        self._file.write((b"," if self.new + self.known else b'{"items":[') + orjson.dumps(items)[1:-1])
        self.new += len(accepted.new)
        self.known += len(accepted.ids) - len(accepted.new)
        if accepted.job_id is not None:
            self.jobs.append(accepted.job_id)

    def finish(self) -> int:
        """Write the rest and go back to the beginning; returns the bytes there are."""
        job_id = self.jobs[-1] if self.jobs else None
        rest = {"new": self.new, "known": self.known, "jobs": self.jobs, "job_id": job_id}
        self._file.write(b"]," + orjson.dumps(rest)[1:])
        size = self._file.tell()
        self._file.seek(0)
        return size

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        return self._file.read(size)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


async def _batches(request: Request, size: int) -> AsyncIterator[list[bytes]]:
    """The lines that aren't blank, at most ``size`` or 16 MB at a time. Where they are cut depends on them alone.

    A line that is too long is cut short, so that it is refused and not kept.
    """
    lines: list[bytes] = []
    taken, rest = 0, bytearray()
    async for chunk in request.stream():
        rest += chunk
        *whole, last = rest.split(b"\n")
        rest = last
        for line in whole if len(last) <= MAX_LINE_BYTES else [*whole, last]:
            if not line.strip():
                continue
            lines.append(bytes(line))
            taken += len(line)
            if len(lines) == size or taken >= MAX_BATCH_BYTES:
                yield lines
                lines, taken = [], 0
    if rest.strip():
        lines.append(bytes(rest))
    if lines:
        yield lines


def checked_key(key: str | None) -> str | None:
    """An ``Idempotency-Key`` as it may be used.

    Raises:
        InvalidField: it isn't 1 to 255 characters that print.
    """
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():  # noqa: PLR2004 - as documented
        raise InvalidField("Idempotency-Key", "is 1 to 255 printable ASCII characters")
    return key
