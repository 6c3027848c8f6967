"""Reads CSV with a header, plain or gzipped."""

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

from app.errors import InvalidInput
from app.intake.byte_stream import BrokenStream, ByteStream
from app.intake.csv_cells import Cells, CellsByLook, cells_of
from app.intake.formats import BOM, DELIMITERS, Format, check_look, delimiter_of, named
from app.intake.mapping import ColumnMapping, Path
from app.intake.rows import MAX_LINE_BYTES, Row, as_line

_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


class _Record(NamedTuple):
    """A row of cells; ``fault`` is the reason why they can't be used."""

    cells: list[str]
    lines: list[bytes]
    fault: str | None


class _Lines:
    """Gives lines to the parser, and keeps those of the current row."""

    def __init__(self, stream: ByteStream) -> None:
        self.count = 0
        self.ended = False
        self.taken: list[bytes] = []
        self.fault: str | None = None
        self._size = 0
        self._stream = stream

    def new_row(self) -> None:
        """Begin a new row."""
        self.taken, self._size, self.fault = [], 0, None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            self.ended = True
            raise StopIteration
        self.count += 1
        self._size += len(line)
        if self._size > MAX_LINE_BYTES:
            begun = self.count - len(self.taken)
            raise BrokenStream(
                f"a row is longer than {MAX_LINE_BYTES // 2**20} MiB (it begins at line {begun:,}; perhaps a quotation mark "
                "isn't closed),"
            )
        if self.count == 1:
            line = line.removeprefix(BOM)
        self.taken.append(line)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.fault = (
                f"not UTF-8: byte {line[error.start]:#04x} in line {self.count:,}; save it as `CSV UTF-8`, or convert it with "
                "`iconv -f WINDOWS-1252 -t UTF-8`"
            )
            return line.decode(errors="replace")


class CsvRows:
    """A :class:`~app.intake.rows.RowSource` of a CSV. As in a spreadsheet, the header is row 1.

    The delimiter is the one that the header has most of: comma, semicolon or tab. An empty cell is
    treated as absent, and a row of empty cells as blank.
    """

    unit = "row"

    def __init__(self, stream: ByteStream, source: str, mapping: ColumnMapping) -> None:
        self.size_bytes = stream.size_bytes
        self._remarks_of_header: list[str] = []
        self._stream = stream
        self._source = source
        self._mapping = mapping
        self._lines = _Lines(stream)
        self._rows = 0

    @property
    def position_bytes(self) -> int:
        """How much of the file was read."""
        return self._stream.position_bytes

    @property
    def remarks(self) -> Sequence[str]:
        """The delimiter if it was uncertain, and the columns that mix numbers and texts."""
        by_look = (cells.remark for _, _, cells in self._columns if isinstance(cells, CellsByLook))
        return [*self._remarks_of_header, *dict.fromkeys(filter(None, by_look))]

    def begin(self) -> None:
        """Check that it looks like CSV, and that every column is mapped."""
        check_look(self._stream.head(), self._source, Format.CSV)
        _ = self._columns

    def next_row(self) -> Row | None:
        """The next row of cells, valid or not."""
        parser, names = self._parser, self._header
        if not self._rows:
            self._rows = 1
            return Row(1, None, 0, blank=True)
        lines = self._lines
        lines.new_row()
        first_line = lines.count + 1
        fault = None
        try:
            cells = next(parser, None)
        except csv.Error as error:
            if lines.ended:
                raise BrokenStream(
                    f"a quotation mark isn't closed (the row of line {first_line:,} continues to the end),"
                ) from None
            cells, fault = [], f"not CSV: {error} (line {first_line:,} of the file)"
        if cells is None:
            return None
        self._rows += 1
        fault = lines.fault or fault
        blank = fault is None and not any(cells)
        if fault is None and not blank and len(cells) != len(names):
            fault = _ragged(cells, names, first_line)
        size = sum(map(len, lines.taken))
        return Row(self._rows, _Record(cells, lines.taken, fault), size, blank)

    def value(self, row: Row) -> object:
        """The item made of the cells."""
        record: _Record = row.content
        if record.fault is not None:
            raise InvalidInput(record.fault)
        cells = record.cells
        return self._mapping.item_of(
            [(path, read(cells[index])) for index, path, read in self._columns if cells[index]]
        )

    def line(self, row: Row) -> bytes:
        """The item as a line of JSON."""
        return as_line(self.value(row))

    def raw(self, row: Row) -> bytes:
        """The text of the row, with all its lines."""
        record: _Record = row.content
        return b"".join(record.lines)

    @cached_property
    def _parser(self) -> Iterator[list[str]]:
        """The CSV parser; the header is its first row."""
        csv.field_size_limit(MAX_LINE_BYTES)
        first = next(self._lines, "")
        delimiter = "\t" if ".tsv" in self._source.lower()[-7:] else delimiter_of(first)
        others = [other for other in DELIMITERS if other != delimiter and other in first]
        if others:
            seen = " and ".join(_DELIMITER_NAMES[other] for other in others)
            self._remarks_of_header.append(
                f"The columns are read as separated by {_DELIMITER_NAMES[delimiter]}; the header also has {seen}."
            )
        return csv.reader(chain((first,), self._lines), delimiter=delimiter, strict=True)

    @cached_property
    def _header(self) -> list[str]:
        """The names of the columns; an unnamed one is named by its number."""
        try:
            names = [name.strip() for name in next(self._parser, [])]
        except csv.Error as error:
            if b"\r" in self._lines.taken[0].rstrip(b"\r\n"):
                raise self._unusable(
                    "its lines end in a carriage return only, as on old Macs; convert them with `tr '\\r' '\\n'`"
                ) from None
            raise self._unusable(f"the header isn't CSV: {error}") from None
        if self._lines.fault is not None:
            raise self._unusable(self._lines.fault)
        if not any(names):
            raise self._unusable("there is no header: the first line is empty")
        return [name or f"column {number}" for number, name in enumerate(names, 1)]

    @cached_property
    def _columns(self) -> list[tuple[int, Path, Cells]]:
        """The used columns: the place in a row, the path in the item, and how cells are read."""
        names = self._header
        try:
            targets = self._mapping.plan(names)
        except InvalidInput as error:
            raise self._unusable(str(error)) from None
        return [
            (index, path, cells_of(name, path, self._mapping))
            for index, (name, paths) in enumerate(zip(names, targets, strict=True))
            for path in paths
        ]

    def _unusable(self, reason: str) -> InvalidInput:
        return InvalidInput(f"{named(self._source)}: {reason}")


def _ragged(cells: Sequence[str], names: Sequence[str], line: int) -> str:
    return (
        f"has {len(cells):,} cells, and the header has {len(names):,} (line {line:,} of the "
        "file); put a cell with a delimiter or a line break in it in quotation marks"
    )
