"""The formats of files of extractions, recognized by the file's name and the first bytes."""

import csv
import shlex
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from app.errors import InvalidInput
from app.intake.exact_json import decode

BOM = b"\xef\xbb\xbf"
DELIMITERS = ",;\t"


class Format(StrEnum):
    """The format of a file of extractions."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


_BY_SUFFIX = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".parquet": Format.PARQUET,
}
_TITLES = {
    Format.JSONL: "JSON lines",
    Format.JSON: "a JSON array",
    Format.CSV: "CSV",
    Format.PARQUET: "Parquet",
}
_EXCEL_WAY_OUT = "save it there as CSV (`CSV UTF-8`), and ingest that file"


class _Look(NamedTuple):
    """What bytes look like, and either their format or how to convert them first."""

    what: str
    format: Format | None = None
    way_out: str = ""


def format_of(source: str) -> Format:
    """Return the format for a file's name, also with ``.gz``; by default JSON lines."""
    name = source.lower().removesuffix(".gz")
    return next((found for suffix, found in _BY_SUFFIX.items() if name.endswith(suffix)), Format.JSONL)


def check_look(head: bytes, source: str, expected: Format) -> None:
    """Check that the first bytes of ``source``, a file's name or ``-``, fit the expected format.

    Raises:
        InvalidInput: they are of another format; the message says which, and the command that reads
            it. Or the file is empty and the format is Parquet, where even a file without rows has
            bytes.
    """
    if not head and expected is Format.PARQUET:
        raise InvalidInput(f"{named(source)} holds no extraction: it is empty")
    look = _binary_look(head, source, expected) or _text_look(head, source, expected)
    if look is None or look.format is expected:
        return
    way_out = look.way_out or f"add `--format {look.format}`"
    if source == "-" and look.format is Format.PARQUET:  # needs a file, which can be read from its end
        way_out = f"run `{_command(source, look.format)}`"
    raise InvalidInput(f"{named(source)} looks like {look.what}, not {_TITLES[expected]}; {way_out}")


def delimiter_of(header: str) -> str:
    """Return the delimiter that a CSV's header has most of: comma, semicolon or tab.

    Characters in quotation marks don't count. A header with none of them gives the comma.
    """
    bare = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def named(source: str) -> str:
    """Return the name of ``source`` for messages."""
    return "standard input" if source == "-" else source


def _command(source: str, format_: Format | None) -> str:
    name = "FILE" if source == "-" and format_ is Format.PARQUET else shlex.quote(source)
    return f"agent-storage ingest {name}" + (f" --format {format_}" if format_ else "")


_CONVERTED = (
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd", "zstd -dc {}"),
    (b"BZh", "a file compressed with bzip2", "bzip2 -dc {}"),
    (b"\xfd7zXZ\0", "a file compressed with xz", "xz -dc {}"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8 {}"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8 {}"),
)


def _binary_look(head: bytes, source: str, expected: Format) -> _Look | None:
    for magic, what, tool in _CONVERTED:
        if head.startswith(magic):
            return _Look(what, way_out=_piped(tool, source, expected))
    if head.startswith(b"PAR1"):
        return _Look("Parquet", Format.PARQUET)
    if b"\0\0" in {head[0:4:2], head[1:4:2]}:  # every other byte of Latin letters
        encoding = "UTF-16LE" if head[1:2] == b"\0" else "UTF-16BE"
        return _Look(encoding, way_out=_piped(f"iconv -f {encoding} -t UTF-8 {{}}", source, expected))
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return _Look("an old Excel workbook", way_out=_EXCEL_WAY_OUT)
    return _zip_look(head, source, expected) if head.startswith(b"PK\x03\x04") else None


def _zip_look(head: bytes, source: str, expected: Format) -> _Look:
    if b"xl/" in head or b"[Content_Types].xml" in head:
        return _Look("an Excel workbook", way_out=_EXCEL_WAY_OUT)
    if b"opendocument.spreadsheet" in head:
        return _Look("an OpenDocument spreadsheet", way_out=_EXCEL_WAY_OUT)
    return _Look("a zip archive", way_out=_piped("unzip -p {}", source, expected))


def _piped(tool: str, source: str, expected: Format) -> str:
    """Return a command that unpacks or converts the input in a pipe; Parquet needs a file."""
    name = "FILE" if source == "-" else shlex.quote(source)
    if expected is Format.PARQUET:
        return f"unpack it first: `{tool.format(name)} > data.parquet`"
    return f"run `{tool.format(name)} | {_command('-', expected)}`"


def _text_look(head: bytes, source: str, expected: Format) -> _Look | None:
    text = head.removeprefix(BOM).lstrip()
    if text.startswith(b"{"):
        return _object_look(text, source, expected)
    if text.startswith(b"["):
        # An array of anything else is a bad line of JSON lines, not another format.
        within = text[1:].lstrip()[:1]
        return _Look("a JSON array", Format.JSON) if within in {b"", b"{"} or expected is Format.JSON else None
    if expected is not Format.CSV and _is_table(text):
        return _Look("CSV", Format.CSV)
    if expected is Format.PARQUET or (expected is Format.JSON and text):
        return _Look("something else", way_out="name its format with --format jsonl, json, csv or parquet")
    return None


def _object_look(text: bytes, source: str, expected: Format) -> _Look:
    first, newline, _ = text.partition(b"\n")
    name = "" if source == "-" else f" {shlex.quote(source)}"
    if not first[1:].strip() and newline:
        way_out = f"run `jq -c .{name} | agent-storage ingest -`"
        return _Look("JSON objects that span several lines", way_out=way_out)
    if expected is not Format.JSON or newline or not _is_whole(first):
        return _Look("JSON lines", Format.JSONL)
    way_out = (
        f"if it is one extraction, run `{_command(source, Format.JSONL)}`; if it holds an array of them, run "
        f"`jq .NAME{name} | agent-storage ingest - --format json`"
    )
    return _Look("one JSON object", way_out=way_out)


def _is_whole(line: bytes) -> bool:
    try:
        decode(line)
    except InvalidInput:
        return False
    return True


def _is_table(text: bytes) -> bool:
    """Whether the first line can be a header of two or more different names and fits the second."""
    header, _, rest = text.decode(errors="replace").partition("\n")
    cells_of = _cells_by(delimiter_of(header))
    names = cells_of(header)
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):  # noqa: PLR2004 - two columns
        return False
    second, ended, _ = rest.partition("\n")
    if not second.strip():
        return True
    cells = cells_of(second)
    return not second.startswith("{") and (len(cells) == len(names) if ended else len(cells) <= len(names))


def _cells_by(delimiter: str) -> Callable[[str], list[str]]:
    def cells_of(line: str) -> list[str]:
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            return []

    return cells_of
