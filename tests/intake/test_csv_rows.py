"""CSV with a header: what people's programs write, and every bad row named."""

import csv
import gzip
import io
from typing import Any, cast
from unicodedata import normalize

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.intake.byte_stream import ByteStream
from app.intake.csv_rows import CsvRows
from app.intake.mapping import ColumnMapping
from app.intake.rows import MAX_LINE_BYTES, RowBatch, RowReader

SHEET = ColumnMapping(mapped={("source_uri",): "url"}, constants={("extraction_type",): "price"}, rest="data")
Mapping = ColumnMapping


def reader_of(
    content: bytes, mapping: Mapping = SHEET, *, source: str = "it.csv", skip: bool = True
) -> RowReader:
    raw: Any = io.BufferedReader(cast(Any, io.BytesIO(content)))
    return RowReader(
        CsvRows(ByteStream(raw), source, mapping), name=source, text_fields=("text",), skip_invalid=skip
    )


def read(content: bytes, mapping: Mapping = SHEET, size: int = 100, **options: Any) -> list[RowBatch]:
    reader = reader_of(content, mapping, **options)
    reader.begin()
    return list(iter(lambda: reader.next_batch(size), None))


def rows(content: bytes, mapping: Mapping = SHEET, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    batches = read(content, mapping, **options)
    assert not [reject for batch in batches for reject in batch.rejects]
    return [(item.source_uri, item.data) for batch in batches for item in batch.items]


def rejects(content: bytes, mapping: Mapping = SHEET) -> list[tuple[int, str]]:
    return [(reject.line, reject.reason) for batch in read(content, mapping) for reject in batch.rejects]


@pytest.mark.parametrize(
    "content",
    [
        b"url,text,n\nu,a b,1\n",
        b"\xef\xbb\xbfurl,text,n\r\nu,a b,1\r\n",
        b"url;text;n\nu;a b;1",
        b"url\ttext\tn\nu\ta b\t1\n",
        b'"url","text","n"\n"u","a b","1"\n',
        b" url , text,n \nu,a b,1\n",
        b"url,text,n\n\nu,a b,1\n,,\n\n",
        gzip.compress(b"url,text,n\nu,a b,1\n", mtime=0),
    ],
)
def test_what_programs_write_is_read(content: bytes) -> None:
    assert rows(content) == [("u", {"text": "a b", "n": 1})]


def test_a_cell_may_hold_line_breaks_delimiters_and_quotation_marks() -> None:
    content = b'url,text\nu,"one\n""two"", and\r\nthree"\nv,x\n'
    assert rows(content) == [("u", {"text": 'one\n"two", and\r\nthree'}), ("v", {"text": "x"})]


def test_an_empty_cell_is_as_if_it_werent_there() -> None:
    assert rows(b"url,text,n\nu,a,\nv,b,2\n") == [("u", {"text": "a"}), ("v", {"text": "b", "n": 2})]


def test_the_name_of_a_tsv_tells_the_delimiter() -> None:
    content = b"url\ttext, in short, of it\nu\ta\n"
    assert rows(content, source="it.tsv.gz") == [("u", {"text, in short, of it": "a"})]


def test_a_delimiter_that_was_guessed_is_told() -> None:
    reader = reader_of(b"url;text;price, EUR\nu;a;1\n")
    reader.begin()
    assert reader.remarks == ["The columns are read as separated by semicolons; the header also has commas."]
    sure = reader_of(b"url;text\nu;a\n")
    sure.begin()
    assert list(sure.remarks) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"u,a\n", "has 2 cells, and the header has 3 (line 4 of the file)"),
        (b"u,a,1,2\n", "has 4 cells, and the header has 3 (line 4 of the file)"),
        (b"u,caf\xe9,1\n", "not UTF-8: byte 0xe9 in line 4; save it as `CSV UTF-8`"),
        (b'u,"a"b,1\n', "not CSV: ',' expected after '\"' (line 4 of the file)"),
        (b",a,1\n", "source_uri: missing"),
        (b"u,\0,1\n", "data.text: contains the character U+0000"),
    ],
)
def test_a_bad_row_is_named_and_its_neighbours_are_read(bad: bytes, reason: str) -> None:
    content = b'url,text,n\nfirst,"two\nlines",1\n' + bad + b"last,b,2\n"
    batches = read(content)
    assert [item.source_uri for batch in batches for item in batch.items] == ["first", "last"]
    [reject] = [reject for batch in batches for reject in batch.rejects]
    assert reject.line == 3  # as a spreadsheet counts, in which a cell may have lines
    assert reject.reason.startswith(reason)
    assert reject.raw == bad
    stopped = read(content, skip=False)
    assert [len(batch.items) for batch in stopped] == [1, 1]
    assert len(stopped[0].rejects) == 1


def test_blank_rows_count() -> None:
    assert rejects(b"url,text\n\n,\nu,a,b\n") == [(4, rejects(b"url,text\n\n,\nu,a,b\n")[0][1])]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it.csv: there is no header"),
        (b"\n\nu,a\n", "it.csv: there is no header"),
        (b"url,te\xe9\nu,a\n", "it.csv: not UTF-8: byte 0xe9 in line 1"),
        (b"url,url\nu,a\n", "it.csv: there are two columns 'url'"),
        (b"uri,text\nu,a\n", "it.csv: there is no column 'url'; there are 'uri', 'text'"),
        (b'"url\nu,a\n', "it.csv: the header isn't CSV"),
        (b'{"source_uri": "x"}\n', "it.csv looks like JSON lines, not CSV"),
    ],
)
def test_a_header_that_cant_be_used_is_refused_at_once(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{reason}"):
        reader_of(content).begin()


def test_a_column_without_a_name_has_its_place() -> None:
    mapping = ColumnMapping(
        mapped={("source_uri",): "url"},
        constants={("extraction_type",): "p"},
        ignored=frozenset({"column 1"}),
        rest="data",
    )
    assert rows(b",url,text\n0,u,a\n", mapping) == [("u", {"text": "a"})]
    with pytest.raises(InvalidInput, match="'column 1' isn't a field"):
        reader_of(b",source_uri,extraction_type,data.text\n", ColumnMapping()).begin()


@pytest.mark.parametrize("tail", [b'v,"never closed\nw,b\n', b'v,"' + b"x\n" * (MAX_LINE_BYTES // 2)])
def test_a_quotation_mark_that_isnt_closed_swallows_nothing(tail: bytes) -> None:
    reader = reader_of(b"url,text\nu,a\n" + tail)
    batch = reader.next_batch(10)
    assert batch is not None
    assert [item.source_uri for item in batch.items] == ["u"]
    with pytest.raises(InvalidInput, match=r"(isn't closed|line 3).* after row 2$"):
        reader.next_batch(10)


def test_lines_of_old_macs_are_named_with_the_way_out() -> None:
    with pytest.raises(
        InvalidInput, match=r"it\.csv: its lines end in a carriage return only.* `tr '\\r' '\\n'`$"
    ):
        read(b"url,text\ru,a\rv,b\r")


def test_the_columns_of_an_export_go_back_in() -> None:
    header = b"source_uri,source_group,extraction_type,confidence,metadata,data\n"
    row = b'u,g,t,0.50,"{""page"": 7}","{""text"": ""a"", ""n"": ""007""}"\n'
    [batch] = read(header + row, ColumnMapping())
    [item] = batch.items
    assert (item.source_uri, item.source_group, item.extraction_type, item.confidence) == ("u", "g", "t", 0.5)
    assert (item.metadata, item.data) == ({"page": 7}, {"text": "a", "n": "007"})


def test_numbers_of_lines_of_a_replace_are_those_of_rows() -> None:
    reader = reader_of(b"url,text\n\nu,a\nv,b,c\n")
    reader.begin()
    lines = reader.next_lines(10)
    assert [number for number, _ in lines] == [1, 2, 3]
    assert [line.isspace() for _, line in lines] == [True, True, False]
    with pytest.raises(InvalidInput, match=r"^row 4: has 3 cells"):
        reader.next_lines(10)


CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(
    st.lists(st.tuples(CELLS, CELLS, st.integers(-(10**14), 10**14)), min_size=1, max_size=8),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(1, 3),
)
def test_what_was_written_comes_back(
    table: list[tuple[str, str, int]], delimiter: str, end: str, quoted: bool, size: int
) -> None:
    """Any text, number and delimiter; only an empty cell becomes absent."""
    assume(
        quoted or not any("\r" in a + b for a, b, _ in table)
    )  # which the writer leaves without quotation marks
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=delimiter,
        lineterminator=end,
        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
    )
    writer.writerow(["source_uri", "data.a", "data.b", "data.n", "extraction_type"])
    for number, (a, b, n) in enumerate(table):
        writer.writerow([f"u{number}", a, b, n, "t"])
    mapping = ColumnMapping(texts=frozenset({"data.a", "data.b"}))
    content = text.getvalue().encode()
    values = [item.data for batch in read(content, mapping, size=size) for item in batch.items]
    assert values == [
        {name: normalize("NFC", text) for name, text in (("a", a), ("b", b)) if text} | {"n": n}
        for a, b, n in table
    ]
