"""Opens files of extractions in any format."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import cast

from app.errors import ExtraMissing, InvalidInput
from app.intake.byte_stream import ByteStream
from app.intake.csv_rows import CsvRows
from app.intake.formats import Format, format_of, named
from app.intake.json_array import JsonArray
from app.intake.json_lines import JsonLines
from app.intake.mapping import ColumnMapping
from app.intake.rows import RowReader, RowSource


def check_there(source: str) -> None:
    """Check that the file for :func:`open_rows` can be opened, without reading it.

    A FIFO isn't opened: its writer would take the close for the end of its reader.

    Raises:
        InvalidInput: there is no such file, it is a directory, or it may not be read.
    """
    if source != "-" and not Path(source).is_fifo():
        with _opened(source):
            pass


@contextmanager
def open_rows(
    source: str,
    text_fields: Sequence[str],
    *,
    format_: Format | None = None,
    mapping: ColumnMapping | None = None,
    skip_invalid: bool = False,
) -> Iterator[RowReader]:
    """Open a reader for the file ``source``, or for standard input if it is ``-``.

    By default, the format is that of the file's name.

    Raises:
        InvalidInput: there is no such file, it is a directory, or it may not be read.
    """
    format_ = format_ or format_of(source)
    with _opened(source) as raw:
        rows = _rows(raw, source, format_, mapping)
        yield RowReader(rows, name=named(source), text_fields=text_fields, skip_invalid=skip_invalid)


def _rows(raw: BufferedReader, source: str, format_: Format, mapping: ColumnMapping | None) -> RowSource:
    if format_ is not Format.CSV and mapping is not None and (mapping.texts or mapping.numbers):
        raise InvalidInput(
            "--text and --number are for CSV only; other formats distinguish texts from numbers themselves"
        )
    match format_:
        case Format.JSONL:
            return JsonLines(ByteStream(raw), source, mapping)
        case Format.JSON:
            return JsonArray(ByteStream(raw), source, mapping or ColumnMapping())
        case Format.CSV:
            return CsvRows(ByteStream(raw), source, mapping or ColumnMapping())
        case Format.PARQUET:
            return _parquet(source, mapping or ColumnMapping())


def _parquet(source: str, mapping: ColumnMapping) -> RowSource:
    if source == "-":
        raise InvalidInput(
            "Parquet can't be read from standard input, because its index is at its end; name the file"
        )
    try:
        from app.intake.parquet_rows import ParquetRows  # noqa: PLC0415 - needs an extra
    except ImportError:
        raise ExtraMissing("pyarrow", "parquet", f"{named(source)}, which is read as Parquet,") from None
    return ParquetRows(source, mapping)


@contextmanager
def _opened(source: str) -> Iterator[BufferedReader]:
    if source == "-":
        yield cast(BufferedReader, sys.stdin.buffer)
        return
    try:
        raw = Path(source).open("rb")  # noqa: SIM115 - closed below; a with statement would catch the body's errors
    except IsADirectoryError:
        raise InvalidInput(f"{source} is a directory; name a file, or - for standard input") from None
    except OSError as error:
        raise InvalidInput(f"{source} can't be read: {os.strerror(error.errno or 0)}") from None
    with raw:
        yield raw
