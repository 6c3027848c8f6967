"""Reads extractions in batches from the rows of any format, and reports every bad row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson

from app.domain.items import Item, parse_item
from app.errors import InvalidInput
from app.intake.byte_stream import BrokenStream

MAX_LINE_BYTES = 8 * 2**20
"""The longest line of one extraction, whose data has at most 4 MiB in its shortest form.

A parser holds the GIL until it is done: 30 ms for the worst text of that length.
"""

MAX_BATCH_BYTES = 16 * 2**20

_TOLD_BYTES = 1_000


class Row(NamedTuple):
    """One row. ``number`` counts from 1; only the source of the row understands its ``content``.

    A ``blank`` row holds nothing, and exists only so that rows can be counted.
    """

    number: int
    content: Any
    size_bytes: int
    blank: bool = False


class RowSource(Protocol):
    """A reader of one format: yields rows and decodes them. Blocking; for one thread at a time."""

    @property
    def unit(self) -> str:
        """The name of a row in messages, such as ``line``."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """The size of the file; None for a stream of unknown size."""
        ...

    @property
    def position_bytes(self) -> int:
        """How much of the file was read."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """The assumptions made so far that the user should know."""
        ...

    def begin(self) -> None:
        """Read and check what comes before the rows.

        Raises:
            InvalidInput: the file isn't of this format, or its columns can't be used.
        """
        ...

    def next_row(self) -> Row | None:
        """The next row; None at the end.

        Raises:
            BrokenStream: nothing can be read from here on.
        """
        ...

    def value(self, row: Row) -> object:
        """Decode a row, for :func:`app.domain.items.parse_item`.

        Raises:
            InvalidInput: the row is invalid.
        """
        ...

    def line(self, row: Row) -> bytes:
        """The row as one line of JSON, not checked further. Raises what :meth:`value` does."""
        ...

    def raw(self, row: Row) -> bytes:
        """The row as it was read, for error reports."""
        ...


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was rejected.

    ``line`` is its number, counted from 1; ``raw`` is the row as read, cut at 1,000 bytes.
    """

    line: int
    reason: str
    raw: bytes


@dataclass(slots=True)
class RowBatch:
    """The items and the rejects of some consecutive rows."""

    items: list[Item] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


class RowReader:
    """Reads items batch by batch. Blocking; for one thread at a time, and off the event loop.

    ``position_bytes`` is how much of the file, before decompression, the batches so far took;
    ``size_bytes`` is None for a stream of unknown size.
    """

    def __init__(
        self, source: RowSource, *, name: str, text_fields: Sequence[str], skip_invalid: bool = False
    ) -> None:
        self.name = name
        self.unit = source.unit
        self.position_bytes = 0
        self.size_bytes = source.size_bytes
        self._source = source
        self._text_fields = text_fields
        self._skip_invalid = skip_invalid
        self._number = 0
        self._fault: InvalidInput | None = None

    @property
    def remarks(self) -> Sequence[str]:
        """The assumptions made so far that the user should know."""
        return self._source.remarks

    def begin(self) -> None:
        """Check the beginning of the file, before anything is stored.

        Raises:
            InvalidInput: the file isn't of its format, or its columns can't be used.
        """
        try:
            self._source.begin()
        except BrokenStream as error:
            raise self._broken(error) from error

    def next_batch(self, size: int) -> RowBatch | None:
        """Read the next rows, at most ``size`` items and rejects together; None at the end.

        A batch also ends when its rows take 16 MB. Without ``skip_invalid``, a batch ends at the
        first reject, so that it comes after all items. Blank rows are skipped.

        Raises:
            InvalidInput: the stream is broken, such as a truncated .gz. It is raised after all rows
                before the fault were returned; the message names the row.
        """
        batch = RowBatch()
        try:
            self._fill(batch, size)
        except BrokenStream:
            if not batch.items and not batch.rejects:
                raise
        self.position_bytes = self._source.position_bytes
        return batch if batch.items or batch.rejects else None

    def next_lines(self, size: int) -> list[tuple[int, bytes]]:
        """Read the next rows as numbered lines of JSON, at most ``size`` and 16 MB.

        The list is empty at the end. Blank rows are included, so that the lines count as the rows
        do. The content of JSON lines isn't checked, and a line that is too long is cut.

        Raises:
            InvalidInput: the stream is broken or a row is invalid. It is raised after all rows
                before the fault were returned.
        """
        lines: list[tuple[int, bytes]] = []
        taken_bytes = 0
        try:
            while len(lines) < size and taken_bytes < MAX_BATCH_BYTES and (row := self._next_row()):
                lines.append((row.number, b"\n" if row.blank else self._line(row)))
                taken_bytes += row.size_bytes
        except InvalidInput as error:
            self._fault = error
        self.position_bytes = self._source.position_bytes
        if self._fault is not None and not lines:
            raise self._fault
        return lines

    def _fill(self, batch: RowBatch, size: int) -> None:
        taken_bytes = 0
        while len(batch.items) + len(batch.rejects) < size and taken_bytes < MAX_BATCH_BYTES:
            row = self._next_row()
            if row is None:
                return
            if row.blank:
                continue  # and isn't counted: a batch of only blank rows would look like the end
            taken_bytes += row.size_bytes
            try:
                batch.items.append(parse_item(self._source.value(row), self._text_fields))
            except InvalidInput as error:
                raw = self._source.raw(row)[:_TOLD_BYTES]
                batch.rejects.append(Reject(row.number, str(error), raw))
                if not self._skip_invalid:
                    return

    def _next_row(self) -> Row | None:
        if self._fault is not None:
            raise self._fault
        try:
            row = self._source.next_row()
        except BrokenStream as error:
            self._fault = self._broken(error)
            raise self._fault from error
        if row is not None:
            self._number = row.number
        return row

    def _line(self, row: Row) -> bytes:
        try:
            return self._source.line(row)
        except InvalidInput as error:
            raise InvalidInput(f"{self.unit} {row.number:,}: {error}") from None

    def _broken(self, error: BrokenStream) -> BrokenStream:
        return BrokenStream(f"{self.name}: {error} after {self.unit} {self._number}")


def as_line(value: object) -> bytes:
    """Write a value as one line of JSON. One that can't be stored is kept, to be rejected later."""
    try:
        line = orjson.dumps(value)
    except orjson.JSONEncodeError:  # an integer of more than 64 bits, or a lone surrogate
        return json.dumps(value).encode()
    # orjson writes a number that isn't finite as null, the standard library as NaN or Infinity.
    return json.dumps(value).encode() if b"null" in line else line
