"""Reads a JSON array of objects, plain or gzipped, element by element."""

import re

from app.intake.byte_stream import BrokenStream, ByteStream
from app.intake.exact_json import decode
from app.intake.formats import BOM, Format, check_look
from app.intake.mapping import ColumnMapping
from app.intake.rows import MAX_LINE_BYTES, Row, as_line

_PIECE_BYTES = 256 * 2**10
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SIGNS = re.compile(_TEXT + rb'|["{}\[\]]', re.DOTALL)
"""Whole texts, brackets, and the beginning of a text that continues after the buffer."""
_PLAIN = re.compile(_TEXT + rb'|[^"\s,{}\[\]]++', re.DOTALL)
"""A value that is neither an object nor an array."""
_NO_SPACE = re.compile(rb"[^ \t\r\n]")
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")


class JsonArray:
    """A :class:`~app.intake.rows.RowSource` of an array's elements, counted from 1.

    Holds one element and 256 KiB at most. It only finds the end of an element.
    :func:`~app.intake.exact_json.decode` then decodes it, so that numbers stay exact and a repeated
    key is rejected.
    """

    unit = "element"
    remarks = ()

    def __init__(self, stream: ByteStream, source: str, mapping: ColumnMapping) -> None:
        self.size_bytes = stream.size_bytes
        self._stream = stream
        self._source = source
        self._mapping = mapping
        self._buffer = bytearray()
        self._at = 0
        self._elements = 0
        self._opened = False
        self._closed = False

    @property
    def position_bytes(self) -> int:
        """How much of the file was read."""
        return self._stream.position_bytes

    def begin(self) -> None:
        """Check that it looks like an array."""
        check_look(self._stream.head(), self._source, Format.JSON)

    def next_row(self) -> Row | None:
        """The next element; None after the array's end, which nothing may follow."""
        if not self._opened:
            if not self._open():
                return None
        elif self._closed or not self._another():
            return None
        if (first := self._sign()) is None:
            raise _cut_short()
        length = self._nested_length() if first in _OPENING else self._plain_length()
        element = bytes(self._buffer[self._at : self._at + length])
        self._at += length
        self._elements += 1
        return Row(self._elements, element, length)

    def value(self, row: Row) -> object:
        """The item of the element."""
        return self._mapping.item_of_object(decode(row.content))

    def line(self, row: Row) -> bytes:
        """The item as a line of JSON."""
        return as_line(self.value(row))

    def raw(self, row: Row) -> bytes:
        """The element as it was read."""
        element: bytes = row.content
        return element

    def _open(self) -> bool:
        """Read the opening bracket; False if there is no element."""
        self._more()
        if self._buffer.startswith(BOM):
            self._at = len(BOM)
        if (sign := self._sign()) is None:
            self._closed = self._opened = True
            return False
        if sign != ord("["):
            raise BrokenStream("not a JSON array: it doesn't begin with [,")
        self._opened = True
        self._at += 1
        if self._sign() == ord("]"):
            self._close()
            return False
        return True

    def _another(self) -> bool:
        """Read the comma before the next element, or the closing bracket."""
        sign = self._sign()
        if sign == ord("]"):
            self._close()
            return False
        if sign is None:
            raise _cut_short()
        if sign != ord(","):
            raise BrokenStream("not JSON: there is neither a comma nor the closing bracket")
        self._at += 1
        return True

    def _close(self) -> None:
        self._at += 1
        self._closed = True
        if self._sign() is not None:
            raise BrokenStream("something follows the array's closing bracket,")

    def _sign(self) -> int | None:
        """Move to the next byte that isn't white space, and return it; None at the end."""
        while (found := _NO_SPACE.search(self._buffer, self._at)) is None:
            self._at = len(self._buffer)
            if not self._more():
                return None
        self._at = found.start()
        return self._buffer[self._at]

    def _nested_length(self) -> int:
        """Return the length of the object or array that begins here."""
        depth, looked = 0, 0
        while True:
            for sign in _SIGNS.finditer(self._buffer, self._at + looked):
                byte = self._buffer[sign.start()]
                if byte in _OPENING:
                    depth += 1
                elif byte in _CLOSING:
                    depth -= 1
                    if not depth:
                        return sign.end() - self._at
                elif sign.end() == sign.start() + 1:
                    looked = sign.start() - self._at
                    break
            else:
                looked = len(self._buffer) - self._at
            self._more_of_element()

    def _plain_length(self) -> int:
        while True:
            found = _PLAIN.match(self._buffer, self._at)
            length = 0 if found is None else found.end() - self._at
            whole = found is not None and found.end() < len(self._buffer)
            if whole:
                return length
            if self._buffer[self._at] in b",]}":
                raise BrokenStream("not JSON: a value is missing before or after a comma,")
            self._more_of_element()

    def _more_of_element(self) -> None:
        if len(self._buffer) - self._at > MAX_LINE_BYTES:
            raise BrokenStream(f"an element is longer than {MAX_LINE_BYTES // 2**20} MiB,")
        if not self._more():
            raise _cut_short()

    def _more(self) -> bool:
        """Read the next piece, and drop what was used; False at the end."""
        del self._buffer[: self._at]
        self._at = 0
        piece = self._stream.read(_PIECE_BYTES)
        self._buffer += piece
        return bool(piece)


def _cut_short() -> BrokenStream:
    return BrokenStream("the array isn't closed: it is cut short")
