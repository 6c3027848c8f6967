"""Reads Parquet in batches of rows; needs the extra ``parquet``."""

import shlex
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from pyarrow import ArrowException, parquet

from app.errors import InvalidField, InvalidInput
from app.intake.byte_stream import BrokenStream
from app.intake.exact_json import decode
from app.intake.formats import Format, check_look
from app.intake.mapping import ColumnMapping, Path
from app.intake.parquet_types import check_type, is_json_text, json_values
from app.intake.rows import Row, as_line

_HEAD_BYTES = 4_096
_ROWS_AT_ONCE = 500
_BUFFER_BYTES = 2**20


class ParquetRows:
    """A :class:`~app.intake.rows.RowSource` of a Parquet file's rows, counted from 1.

    A null is treated as absent, also within structs. Types are kept, but decimals of more than 15
    digits become texts, and dates and times become ISO 8601 texts.
    """

    unit = "row"
    remarks = ()

    def __init__(self, source: str, mapping: ColumnMapping) -> None:
        self.size_bytes = FilePath(source).stat().st_size
        self._source = source
        self._mapping = mapping
        self._rows = 0

    @property
    def position_bytes(self) -> int:
        """How much of the file was read, estimated by the rows."""
        rows: int = self._file.metadata.num_rows
        return self.size_bytes * self._rows // max(1, rows)

    def begin(self) -> None:
        """Check that it is Parquet, and that the columns and their types are usable."""
        with FilePath(self._source).open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if head.startswith(b"\x1f\x8b"):
            raise InvalidInput(
                f"{self._source} is gzipped, and Parquet can't be read that way; gunzip it first"
            )
        check_look(head, self._source, Format.PARQUET)
        _ = self._columns

    def next_row(self) -> Row | None:
        """The next row's values."""
        values = next(self._values, None)
        if values is None:
            return None
        self._rows += 1
        return Row(self._rows, values, self._row_bytes)

    def value(self, row: Row) -> object:
        """The item made of the values."""
        return self._mapping.item_of(
            [
                (path, _decoded(path[0], value) if is_text else value)
                for (_, path, is_text), value in zip(self._columns, row.content, strict=True)
                if value is not None
            ]
        )

    def line(self, row: Row) -> bytes:
        """The item as a line of JSON."""
        return as_line(self.value(row))

    def raw(self, row: Row) -> bytes:
        """The values of the used columns, by the names of the columns."""
        names = [name for name, _, _ in self._columns]
        return str(dict(zip(names, row.content, strict=True))).encode(errors="replace")

    @cached_property
    def _file(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        try:
            # No reading ahead, so that memory doesn't grow with the size of a row group.
            return parquet.ParquetFile(self._source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except (ArrowException, OSError) as error:
            raise self._unusable(f"isn't a complete Parquet file: {_first_line(error)}") from None

    @cached_property
    def _columns(self) -> list[tuple[str, Path, bool]]:
        """The used columns: the name, the path in the item, and whether it holds JSON as text."""
        schema = self._file.schema_arrow
        columns = []
        try:
            for name, paths in zip(schema.names, self._mapping.plan(schema.names), strict=True):
                for path in paths:
                    type_ = schema.field(name).type
                    check_type(name, path, type_)
                    columns.append((name, path, is_json_text(path, type_)))
        except InvalidInput as error:
            raise self._unusable(str(error)) from None
        return columns

    @cached_property
    def _row_bytes(self) -> int:
        """The average size of a row, by which batches are limited."""
        metadata = self._file.metadata
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        size: int = sum(group.total_byte_size for group in groups)
        rows: int = metadata.num_rows
        return size // max(1, rows)

    @cached_property
    def _values(self) -> Iterator[tuple[Any, ...]]:
        return self._read()

    def _read(self) -> Iterator[tuple[Any, ...]]:
        names = [name for name, _, _ in self._columns]
        wanted = list(dict.fromkeys(names))
        at_once = max(1, min(_ROWS_AT_ONCE, 16 * _BUFFER_BYTES // max(1, self._row_bytes)))
        batches = self._file.iter_batches(batch_size=at_once, columns=wanted, use_threads=False)
        try:
            for batch in batches:
                values = {name: _converted(name, batch.column(name)) for name in wanted}
                yield from zip(*(values[name] for name in names), strict=True)
        except (ArrowException, OSError, ValueError) as error:
            raise BrokenStream(f"reading failed ({_first_line(error)})") from error

    def _unusable(self, reason: str) -> InvalidInput:
        return InvalidInput(f"{self._source}: {reason}")


def _converted(name: str, column: Any) -> list[Any]:  # noqa: ANN401 - pyarrow has no types
    try:
        return json_values(column)
    except OverflowError:  # Parquet has dates that Python doesn't have
        raise BrokenStream(
            f"the column {name!r} has a date outside the years 1 to 9999 (cast it to text, or leave it out with "
            f"--ignore {shlex.quote(name)}),"
        ) from None


def _decoded(field: str, text: str) -> object:
    try:
        return decode(text.encode(errors="surrogatepass"))
    except InvalidInput as error:
        raise InvalidField(field, f"{error}; its column holds JSON objects") from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
