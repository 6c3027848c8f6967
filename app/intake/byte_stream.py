"""Reads the bytes of a file, a gzip file or standard input, with readable errors."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BufferedReader
from typing import BinaryIO, cast

from app.errors import InvalidInput

_GZIP = b"\x1f\x8b"
_FAULTS = (EOFError, gzip.BadGzipFile, zlib.error, OSError)


class BrokenStream(InvalidInput):
    """The bytes end early or are invalid, so nothing more can be read. Retrying doesn't help."""


class ByteStream:
    """Reads bytes, and decompresses gzip, which is recognized by the first bytes.

    Blocking; for one thread at a time. Its methods raise :class:`BrokenStream`. ``size_bytes`` is
    the size of the file on disk; None for a stream of unknown size.
    """

    def __init__(self, raw: BufferedReader) -> None:
        self.size_bytes = _size(raw)
        self._raw = raw

    @property
    def position_bytes(self) -> int:
        """How many bytes of the file were read, before decompression; 0 if the size is unknown."""
        return 0 if self.size_bytes is None else self._raw.tell()

    @cached_property
    def packed(self) -> bool:
        """Whether the bytes are gzip."""
        return self._raw.peek(len(_GZIP)).startswith(_GZIP)

    def head(self) -> bytes:
        """Return the first bytes, decompressed, without consuming them; empty for an empty file."""
        with _in_words():
            return cast(BufferedReader, self._stream).peek(1)

    def readline(self, most: int) -> bytes:
        """Return the next line with its end, or ``most`` bytes of it; empty at the end."""
        try:
            return self._stream.readline(most)
        except _FAULTS as error:
            raise _broken(error) from error

    def read(self, most: int) -> bytes:
        """Return ``most`` bytes, fewer only at the end."""
        with _in_words():
            return self._stream.read(most)

    @cached_property
    def _stream(self) -> BinaryIO:
        return cast(BinaryIO, gzip.GzipFile(fileobj=self._raw) if self.packed else self._raw)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        raise _broken(error) from error


def _broken(error: Exception) -> BrokenStream:
    if isinstance(error, EOFError):
        return BrokenStream("the .gz file is cut short")
    if isinstance(error, gzip.BadGzipFile | zlib.error):
        return BrokenStream("not a valid .gz file")
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
    return BrokenStream(f"reading failed ({reason})")


def _size(raw: BufferedReader) -> int | None:
    if not raw.seekable():
        return None
    here = raw.tell()
    size = raw.seek(0, os.SEEK_END)
    raw.seek(here)
    return size
