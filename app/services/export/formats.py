"""Encode extractions as JSON lines, CSV or Parquet, plain or compressed."""

import csv
import io
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import orjson

from app.domain.export import ExportFormat, ExportRow, ExportRows
from app.errors import ExtraMissing

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetWriter

_AS_GZIP = 16 + zlib.MAX_WBITS
_ROW_GROUP_CHARS = 4 * 2**20


class Encoder(Protocol):
    """Makes a file in parts: the pages in order, then the end. CPU-bound: call it on a thread."""

    def page(self, rows: ExportRows) -> bytes:
        """Add extractions; return the next bytes of the file."""
        ...

    def end(self) -> bytes:
        """Return the last bytes of the file."""
        ...


def encoder_of(form: ExportFormat, *, goes_on: bool = False, gzipped: bool = False) -> Encoder:
    """Make an encoder. ``goes_on`` continues another file: CSV then has no line of column names.

    Raises:
        ExtraMissing: the format is Parquet, and pyarrow isn't installed.
    """
    match form:
        case ExportFormat.JSONL:
            encoder: Encoder = _JsonLines()
        case ExportFormat.CSV:
            encoder = _Csv(goes_on=goes_on)
        case ExportFormat.PARQUET:
            encoder = _Parquet()
        case _:
            assert_never(form)
    return _Gzipped(encoder) if gzipped else encoder


class _JsonLines:
    """A line of JSON for each extraction, as ``ingest`` takes it, without absent values."""

    def page(self, rows: ExportRows) -> bytes:
        return b"".join(map(_line, rows))

    def end(self) -> bytes:
        return b""


def _line(row: ExportRow) -> bytes:
    line: dict[str, Any] = {"source_uri": row.source_uri}
    if row.source_group is not None:
        line["source_group"] = row.source_group
    line["extraction_type"] = row.extraction_type
    if row.confidence is not None:
        line["confidence"] = row.confidence
    if row.metadata is not None:
        line["metadata"] = orjson.Fragment(row.metadata)
    line["data"] = orjson.Fragment(row.data)
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class _Csv:
    """CSV by RFC 4180: a line of names, CRLF, quotes if needed; absent values are empty fields."""

    def __init__(self, *, goes_on: bool) -> None:
        self._named = goes_on

    def page(self, rows: ExportRows) -> bytes:
        return self._names() + _csv(rows)

    def end(self) -> bytes:
        return self._names()

    def _names(self) -> bytes:
        names = b"" if self._named else _csv([ExportRow._fields])
        self._named = True
        return names


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


class _Parquet:
    """Columns like CSV's: ``confidence`` is a double, the others are strings (two with JSON)."""

    def __init__(self) -> None:
        self._batch_of, self._write, self._writer, self._file = _open_parquet()
        self._batches: list[RecordBatch] = []
        self._chars = 0

    def page(self, rows: ExportRows) -> bytes:
        if rows:
            # Convert to Arrow's columns at once: kept as Python objects, the rows of a group
            # fragmented the heap by 100 MB.
            self._batches.append(self._batch_of(list(map(list, zip(*rows, strict=True)))))
            self._chars += sum(len(row.data) for row in rows)
        return self._row_group() if self._chars >= _ROW_GROUP_CHARS else b""

    def end(self) -> bytes:
        group = self._row_group()
        self._writer.close()
        return group + self._file.take()

    def _row_group(self) -> bytes:
        if self._batches:
            self._write(self._batches)
            self._batches, self._chars = [], 0
        return self._file.take()


class _Sink(io.RawIOBase):
    """Collects what is written until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:  # noqa: ANN401 - any buffer, like RawIOBase
        self._pieces.append(bytes(piece))
        self._written += len(self._pieces[-1])
        return len(self._pieces[-1])

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _open_parquet() -> (
    "tuple[Callable[[list[Any]], RecordBatch], Callable[[list[RecordBatch]], None], ParquetWriter, _Sink]"
):
    """Functions that make a batch of columns and write batches as a row group; writer and sink."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an optional extra that takes 30 MB of memory
        from pyarrow.parquet import ParquetWriter  # noqa: PLC0415 - as above
    except ImportError:
        raise ExtraMissing("pyarrow", "parquet", "Parquet") from None
    schema = pa.schema(
        [(name, pa.float64() if name == "confidence" else pa.string()) for name in ExportRow._fields]
    )
    sink = _Sink()
    writer = ParquetWriter(sink, schema)

    def write(batches: "list[RecordBatch]") -> None:
        writer.write_table(pa.Table.from_batches(batches))

    return partial(pa.RecordBatch.from_arrays, schema=schema), write, writer, sink


class _Gzipped:
    """Compresses another encoder's file; its end marks it as complete."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self._compressor = zlib.compressobj(level=6, wbits=_AS_GZIP)

    def page(self, rows: ExportRows) -> bytes:
        return self._compressor.compress(self._inner.page(rows))

    def end(self) -> bytes:
        return self._compressor.compress(self._inner.end()) + self._compressor.flush()
