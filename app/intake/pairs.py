"""Reads pairs of a query and its text from JSON lines or CSV."""

import csv
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

import orjson

from app.domain.pairs import MAX_PAIRS, Pair
from app.errors import InvalidInput

_FIELDS = ("query", "text")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_pairs(name: str) -> list[Pair]:
    """Read the pairs in a file, or in standard input for ``-``.

    The format is CSV or TSV with a header by the file's name, else JSON lines. Other fields and
    columns are ignored.

    Raises:
        InvalidInput: the file can't be read, a line isn't a pair (the message names it), or there
            are no pairs or too many.
    """
    place = "standard input" if name == "-" else name
    try:
        with _opened(name) as file:
            pairs = list(_numbered(file, place, _DELIMITERS.get(Path(name).suffix.lower())))
    except OSError as error:
        raise InvalidInput(f"{place} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{place} isn't UTF-8 (at byte {error.start:,} of a block)") from error
    if not pairs:
        raise InvalidInput(f'{place} holds no pairs; write one {{"query": "...", "text": "..."}} per line')
    return pairs


def _opened(name: str) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdin) if name == "-" else Path(name).open(encoding="utf-8-sig", newline="")


def _numbered(file: TextIO, place: str, delimiter: str | None) -> Iterator[Pair]:
    rows = _json_rows(file, place) if delimiter is None else _csv_rows(file, place, delimiter)
    for count, (line, row) in enumerate(rows, 1):
        if count > MAX_PAIRS:
            raise InvalidInput(f"{place} has more than {MAX_PAIRS:,} pairs; compare with a sample of them")
        yield _pair_of(row, f"{place}, line {line:,}")


def _json_rows(file: TextIO, place: str) -> Iterator[tuple[int, object]]:
    for line, text in enumerate(file, 1):
        if text.strip():
            try:
                yield line, orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"{place}, line {line:,}: no JSON ({error})") from error


def _csv_rows(file: TextIO, place: str, delimiter: str) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(file, delimiter=delimiter, strict=True)
    try:
        if missing := [field for field in _FIELDS if field not in (reader.fieldnames or ())]:
            raise InvalidInput(f"{place} has no column {missing[0]!r}; its first line must name query and text")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InvalidInput(f"{place}, after line {reader.line_num:,}: {error}") from error


def _pair_of(row: object, place: str) -> Pair:
    if not isinstance(row, dict):
        raise InvalidInput(f'{place}: it must be an object, such as {{"query": "...", "text": "..."}}')
    found = [row.get(field) for field in _FIELDS]
    for field, value in zip(_FIELDS, found, strict=True):
        if not isinstance(value, str) or not value.strip():
            raise InvalidInput(f"{place}: {field!r} must be text that isn't blank")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(
                f"{place}: {field!r} holds half a surrogate pair, which isn't a character"
            ) from None
    query, text = map(str, found)
    return Pair(query, text)
