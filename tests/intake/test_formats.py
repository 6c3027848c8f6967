"""What a name means, what the first bytes look like, and how to hand it in then."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.intake.formats import Format, check_look, delimiter_of, format_of

LINE = b'{"source_uri": "u", "extraction_type": "t", "data": {"text": "x"}}\n'


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "x")
    return file.getvalue()


XLSX = zipped("[Content_Types].xml", "xl/workbook.xml")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", Format.JSONL),
        ("a.ndjson.gz", Format.JSONL),
        ("a.JSON", Format.JSON),
        ("a.csv.gz", Format.CSV),
        ("folder.csv/a.tsv", Format.CSV),
        ("a.parquet", Format.PARQUET),
        ("a.txt", Format.JSONL),
        ("a.gz", Format.JSONL),
        ("-", Format.JSONL),
    ],
)
def test_a_name_means_a_format(name: str, expected: Format) -> None:
    assert format_of(name) is expected


@pytest.mark.parametrize(
    ("head", "expected", "told"),
    [
        (
            b'[{"a": 1}]',
            Format.JSONL,
            "a JSON array, not JSON lines; add `--format json`",
        ),
        (b"[\n", Format.JSONL, "a JSON array"),
        (
            b"url,price\nu,1\n",
            Format.JSONL,
            "CSV, not JSON lines; add `--format csv`",
        ),
        (b"\xef\xbb\xbfurl;price\n", Format.JSONL, "CSV"),
        (b"url\tprice\nu\t1", Format.JSON, "CSV, not a JSON array"),
        (
            b"PAR1\x15\x04",
            Format.JSONL,
            "Parquet, not JSON lines; add `--format parquet`",
        ),
        (XLSX, Format.CSV, "an Excel workbook, not CSV; save it there as CSV"),
        (XLSX, Format.JSONL, "an Excel workbook, not JSON lines"),
        (
            zipped("a.csv"),
            Format.CSV,
            "a zip archive, not CSV; run `unzip -p it | agent-storage ingest - --format csv`",
        ),
        (b"\xd0\xcf\x11\xe0\xa1", Format.CSV, "an old Excel workbook"),
        (
            "url,p\n".encode("utf-16"),
            Format.CSV,
            "`iconv -f UTF-16 -t UTF-8 it | agent-storage ingest - --format csv`",
        ),
        (
            LINE.decode().encode("utf-16-le"),
            Format.JSONL,
            "UTF-16LE, not JSON lines; run `iconv -f UTF-16LE",
        ),
        (
            b"\x28\xb5\x2f\xfd\0",
            Format.JSON,
            "a file compressed with zstd, not a JSON array; run `zstd -dc it | ",
        ),
        (LINE, Format.CSV, "JSON lines, not CSV; add `--format jsonl`"),
        (LINE * 2, Format.JSON, "JSON lines, not a JSON array"),
        (b'[{"a": 1}]', Format.CSV, "a JSON array, not CSV"),
        (
            b'{"rows": [{"a": 1}]}',
            Format.JSON,
            "one JSON object, not a JSON array; .*`jq .NAME it | agent-storage ingest - ",
        ),
        (
            b'{\n "rows": []}',
            Format.JSON,
            "JSON objects that span several lines, not a JSON array; .*`jq -c . it | ",
        ),
        (b'{\n "source_uri": "u"}', Format.JSONL, "JSON objects that span several lines"),
        (LINE, Format.PARQUET, "JSON lines, not Parquet"),
        (b"whatever", Format.PARQUET, "something else, not Parquet; name its format with --format"),
        (b"whatever", Format.JSON, "something else, not a JSON array"),
    ],
)
def test_another_format_is_told_with_the_command_that_takes_it(
    head: bytes, expected: Format, told: str
) -> None:
    with pytest.raises(
        InvalidInput, match=f"^it looks like .*{told}" if told[0] == "`" else f"^it looks like {told}"
    ):
        check_look(head, "it", expected)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", Format.JSONL),
        (b"", Format.JSON),
        (b"", Format.CSV),
        (LINE, Format.JSONL),
        (b"\xef\xbb\xbf \n" + LINE, Format.JSONL),
        (b"[1]\n" + LINE, Format.JSONL),  # a bad line, which --skip-invalid passes over
        (b"not json, at all\n" + LINE, Format.JSONL),
        (b"not json\n", Format.JSONL),
        (b"Sorry, the service, is down\n", Format.CSV),
        (b" [1, 2]", Format.JSON),
        (b"one column\nx\n", Format.CSV),
        (b"PAR1", Format.PARQUET),
    ],
)
def test_what_may_be_of_the_format_is_read(head: bytes, expected: Format) -> None:
    check_look(head, "it", expected)


def test_names_are_quoted_and_standard_input_is_a_dash() -> None:
    with pytest.raises(InvalidInput, match="`agent-storage ingest 'my file' --format jsonl`"):
        check_look(b'{"extractions": []}', "my file", Format.JSON)
    with pytest.raises(InvalidInput, match=r"^standard input looks like CSV.*add `--format csv`"):
        check_look(b"a,b\n1,2\n", "-", Format.JSONL)
    with pytest.raises(InvalidInput, match="`agent-storage ingest FILE --format parquet`"):
        check_look(b"PAR1", "-", Format.JSONL)


@given(st.binary(max_size=40) | st.text().map(str.encode), st.sampled_from(Format))
def test_any_bytes_pass_or_are_refused_in_words(head: bytes, expected: Format) -> None:
    try:
        check_look(head, "it", expected)
    except InvalidInput as error:
        wanted = "it looks like " if head else "it holds no extraction: it is empty"
        assert str(error).startswith(wanted)  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("a,b", ","), ("a;b", ";"), ("a\tb", "\t"), ("a", ","), ('"a;b;c",d', ","), ("a;b;c, d", ";"), ("", ",")],
)
def test_the_delimiter_of_a_header(header: str, delimiter: str) -> None:
    assert delimiter_of(header) == delimiter
