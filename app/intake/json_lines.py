"""Reads JSON lines, plain or gzipped."""

from app.errors import InvalidInput
from app.intake.byte_stream import ByteStream
from app.intake.exact_json import decode
from app.intake.formats import BOM, Format, check_look
from app.intake.mapping import ColumnMapping
from app.intake.rows import MAX_LINE_BYTES, Row, as_line

_PIECE_BYTES = 2**20


def decoded_line(line: bytes) -> object:
    """Decode a line.

    Raises:
        InvalidInput: it is too long, or isn't JSON.
    """
    if len(line) > MAX_LINE_BYTES:
        raise InvalidInput(f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB")
    return decode(line)


class JsonLines:
    """A :class:`~app.intake.rows.RowSource` of lines, which may begin with a byte order mark.

    CRLF line ends are accepted.
    """

    unit = "line"
    remarks = ()

    def __init__(self, stream: ByteStream, source: str = "-", mapping: ColumnMapping | None = None) -> None:
        self.size_bytes = stream.size_bytes
        self._stream = stream
        self._source = source
        self._mapping = mapping
        self._lines = 0
        self._rest_follows = False

    @property
    def position_bytes(self) -> int:
        """How much of the file was read."""
        return self._stream.position_bytes

    def begin(self) -> None:
        """Check that the file looks like lines of JSON."""
        check_look(self._stream.head(), self._source, Format.JSONL)

    def next_row(self) -> Row | None:
        """The next line. Only the beginning of one that is too long is read, so it is rejected."""
        while self._rest_follows:
            piece = self._stream.readline(_PIECE_BYTES)
            self._rest_follows = len(piece) == _PIECE_BYTES and not piece.endswith(b"\n")
        line = self._stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            return None
        self._lines += 1
        size = len(line)
        self._rest_follows = size > MAX_LINE_BYTES and not line.endswith(b"\n")
        if self._lines == 1:
            line = line.removeprefix(BOM) or b"\n"
        return Row(self._lines, line, size, line.isspace() and size <= MAX_LINE_BYTES)

    def value(self, row: Row) -> object:
        """The item of the line."""
        value = decoded_line(row.content)
        return value if self._mapping is None else self._mapping.item_of_object(value)

    def line(self, row: Row) -> bytes:
        """The line as it is, or mapped."""
        return self.raw(row) if self._mapping is None else as_line(self.value(row))

    def raw(self, row: Row) -> bytes:
        """The line as it is."""
        line: bytes = row.content
        return line
