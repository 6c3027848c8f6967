"""JSON lines, read in batches from a file, a gzip file or a stream, with every bad line named."""

import gzip
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from app.domain.items import Item, parse_item
from app.errors import InvalidInput
from app.intake.exact_json import decode

MAX_LINE_BYTES = 8 * 2**20
"""Of one extraction, whose data has 4 MiB at most in the shortest spelling. A parser holds Python's lock until it is done,
which is 30 ms for the worst text of that length."""

MAX_BATCH_BYTES = 16 * 2**20
_PIECE_BYTES = 2**20
BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


def decoded_line(line: bytes) -> object:
    """The JSON of a line.

    Raises:
        InvalidInput: it is too long, or no JSON.
    """
    if len(line) > MAX_LINE_BYTES:
        raise InvalidInput(f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB")
    return decode(line)


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that wasn't accepted. ``line`` counts from 1; ``raw`` is the line as read, cut at 1,000 bytes."""

    line: int
    reason: str
    raw: bytes


@dataclass(slots=True)
class LineBatch:
    """What came of some consecutive lines."""

    items: list[Item] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


class _BrokenStream(InvalidInput):
    """The bytes end early or can't be decompressed; reading again gives the same."""


class LineReader:
    """Reads items batch by batch. Blocking; for one thread at a time, and off the event loop.

    Whether the bytes are gzip is read off the first of them. ``position_bytes`` is how much of the file
    (compressed, if it is) the batches so far took; ``size_bytes`` is None for a stream that can't tell.
    """

    def __init__(
        self, raw: BufferedReader, *, name: str, text_fields: Sequence[str], skip_invalid: bool
    ) -> None:
        self.name = name
        self.lines = 0
        self.position_bytes = 0
        self.size_bytes = _size(raw)
        self._raw = raw
        self._text_fields = text_fields
        self._skip_invalid = skip_invalid
        self._rest_follows = False

    @cached_property
    def _stream(self) -> BinaryIO:
        gzipped = self._raw.peek(2)[:2] == _GZIP
        return cast(BinaryIO, gzip.GzipFile(fileobj=self._raw) if gzipped else self._raw)

    def next_batch(self, size: int) -> LineBatch | None:
        """The items and rejects of the next lines, at most ``size`` of both together; None at the end.

        A batch also ends when its lines take 16 MB. Without ``skip_invalid`` a batch ends at the first reject, so that all its items stand before it. Blank lines are passed over. A byte order mark before the first line and CRLF line ends are accepted.

        Raises:
            InvalidInput: the stream itself is broken (a truncated .gz, say), once all before the fault was
                returned; the message names the line.
        """
        batch = LineBatch()
        try:
            self._fill(batch, size)
        except _BrokenStream:
            if not batch.items and not batch.rejects:
                raise
        if self.size_bytes is not None:
            self.position_bytes = self._raw.tell()
        return batch if batch.items or batch.rejects else None

    def next_lines(self, size: int) -> list[tuple[int, bytes]]:
        """The next lines as they are, with their numbers, at most ``size`` and 16 MB of them; empty at the end.

        Blank ones are among them, a byte order mark isn't. Of one that is too long only the beginning comes.

        Raises:
            InvalidInput: the stream is broken, once all before the fault was returned.
        """
        lines: list[tuple[int, bytes]] = []
        taken_bytes = 0
        try:
            while len(lines) < size and taken_bytes < MAX_BATCH_BYTES and (raw := self._next_line()):
                lines.append((self.lines, raw))
                taken_bytes += len(raw)
        except _BrokenStream:
            if not lines:
                raise
        if self.size_bytes is not None:
            self.position_bytes = self._raw.tell()
        return lines

    def _fill(self, batch: LineBatch, size: int) -> None:
        taken_bytes = 0
        while len(batch.items) + len(batch.rejects) < size and taken_bytes < MAX_BATCH_BYTES:
            raw = self._next_line()
            if not raw:
                return
            if raw.isspace() and len(raw) <= MAX_LINE_BYTES:
                continue  # and takes no room: a batch of blank lines alone would look like the end
            taken_bytes += len(raw)
            try:
                batch.items.append(self._parse(raw))
            except InvalidInput as error:
                batch.rejects.append(Reject(self.lines, str(error), raw[:1_000]))
                if not self._skip_invalid:
                    return

    def _next_line(self) -> bytes:
        """The next line; of one that is too long the beginning, so that it is refused before anybody reads the rest."""
        try:
            while self._rest_follows:
                piece = self._stream.readline(_PIECE_BYTES)
                self._rest_follows = len(piece) == _PIECE_BYTES and not piece.endswith(b"\n")
            raw = self._stream.readline(MAX_LINE_BYTES + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
            raise _BrokenStream(f"{self.name}: {_stream_fault(error)} after line {self.lines}") from error
        if not raw:
            return b""
        self.lines += 1
        self._rest_follows = len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n")
        return raw.removeprefix(BOM) or b"\n" if self.lines == 1 else raw

    def _parse(self, raw: bytes) -> Item:
        return parse_item(decoded_line(raw), self._text_fields)


def _stream_fault(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the .gz file is cut short"
    if isinstance(error, gzip.BadGzipFile | zlib.error):
        return "not a valid .gz file"
    return (
        f"reading failed ({os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error})"
    )


@contextmanager
def open_lines(source: str, text_fields: Sequence[str], *, skip_invalid: bool = False) -> Iterator[LineReader]:
    """A reader of the file ``source``, or of standard input for ``-``.

    Raises:
        InvalidInput: there is no such file, it is a directory, or it may not be read.
    """
    if source == "-":
        raw = cast(BufferedReader, sys.stdin.buffer)
        yield LineReader(raw, name="standard input", text_fields=text_fields, skip_invalid=skip_invalid)
        return
    try:
        raw = Path(source).open("rb")  # noqa: SIM115 - closed below; a with statement would catch the body's errors
    except IsADirectoryError:
        raise InvalidInput(
            f"{source} is a directory; name a file of JSON lines, or - for standard input"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{source} can't be read: {os.strerror(error.errno or 0)}") from None
    with raw:
        yield LineReader(raw, name=source, text_fields=text_fields, skip_invalid=skip_invalid)


def _size(raw: BufferedReader) -> int | None:
    if not raw.seekable():
        return None
    here = raw.tell()
    size = raw.seek(0, os.SEEK_END)
    raw.seek(here)
    return size
