"""JSON lines from files, gzip and streams, with every bad line named."""

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.turns import turns_beside

from app.errors import InvalidInput
from app.intake.byte_stream import ByteStream
from app.intake.exact_json import decode
from app.intake.json_lines import JsonLines
from app.intake.opening import open_rows
from app.intake.rows import MAX_LINE_BYTES, RowBatch, RowReader

FIELDS = ("text",)


def line(number: int, **changes: Any) -> bytes:
    item = {
        "source_uri": f"doc:{number}",
        "extraction_type": "fact",
        "data": {"text": f"fact {number}"},
        **changes,
    }
    return json.dumps(item).encode() + b"\n"


def read(content: bytes, *, skip_invalid: bool = True, size: int = 1_000) -> list[RowBatch]:
    raw: Any = io.BufferedReader(io.BytesIO(content))
    reader = RowReader(JsonLines(ByteStream(raw)), name="it", text_fields=FIELDS, skip_invalid=skip_invalid)
    batches = []
    while (batch := reader.next_batch(size)) is not None:
        batches.append(batch)
    return batches


def rejects(content: bytes) -> list[tuple[int, str]]:
    return [(reject.line, reject.reason) for batch in read(content) for reject in batch.rejects]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"not json\n", "not JSON: Expecting value at column 1"),
        (b"[1]\n", "an extraction is a JSON object, not an array"),
        (b'{"source_uri": "x"}\n', "extraction_type: missing"),
        (line(1, data={"text": "x", "n": float("nan")}), "not JSON: NaN isn't a JSON number"),
        (line(1, data={"text": "x", "n": float("-inf")}), "not JSON: -Infinity isn't a JSON number"),
        (b'{"source_uri": "\xff"}\n', "not UTF-8: byte 0xff at column 17"),
        (b'{"a": ' * 100_000 + b"\n", "nested too deep to be read"),
        (line(1, data={"text": "\ud800"}), "data.text: contains a lone surrogate at character 1"),
        (line(1, data={"text": "x", "n": 2**70}), "data.n: an integer outside 64 bits; write it as a string"),
        (
            line(1, source_uri="u" * 7_000_000),
            "source_uri: has 7,000,000 characters; at most 2,000 are allowed",
        ),
        (b"9" * 5_000 + b"\n", "not JSON: a number has too many digits"),
        (b'"' + b"x" * MAX_LINE_BYTES + b'"\n', "the line is longer than 8 MiB"),
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_are_read(bad: bytes, reason: str) -> None:
    batches = read(line(1) + bad + line(3))
    assert [item.source_uri for batch in batches for item in batch.items] == ["doc:1", "doc:3"]
    [reject] = [reject for batch in batches for reject in batch.rejects]
    assert reject.line == 2
    assert reject.reason.startswith(reason)
    assert len(reject.raw) <= 1_000


def test_data_nested_a_thousand_deep_is_refused() -> None:
    data = b'{"text": "x", "d": ' + b"[" * 1_000 + b"]" * 1_000 + b"}"
    content = b'{"source_uri": "x", "extraction_type": "f", "data": ' + data + b"}\n"
    [(number, reason)] = rejects(content)
    assert number == 1
    assert "nested" in reason


def test_a_byte_order_mark_crlf_and_blank_lines_are_accepted() -> None:
    content = b"\xef\xbb\xbf" + line(1).replace(b"\n", b"\r\n") + b"\r\n\n  \n" + line(2).rstrip()
    [batch] = read(content)
    assert [item.source_uri for item in batch.items] == ["doc:1", "doc:2"]
    assert not batch.rejects


def test_without_skipping_a_batch_ends_at_the_first_bad_line() -> None:
    first, *rest = read(line(1) + b"bad\n" + line(3), skip_invalid=False)
    assert [item.source_uri for item in first.items] == ["doc:1"]
    assert [reject.line for reject in first.rejects] == [2]
    assert [item.source_uri for batch in rest for item in batch.items] == ["doc:3"]


@given(st.integers(1, 7), st.integers(0, 20))
def test_batches_hold_every_line_once(size: int, count: int) -> None:
    batches = read(b"".join(line(number) for number in range(count)), size=size)
    assert all(len(batch.items) == size for batch in batches[:-1])
    assert [item.source_uri for batch in batches for item in batch.items] == [f"doc:{n}" for n in range(count)]


@pytest.mark.slow
def test_a_batch_ends_when_its_lines_take_much_room() -> None:
    content = b"".join(line(number, data={"text": "x", "blob": ["y" * 900_000] * 3}) for number in range(20))
    batches = read(content)
    assert [len(batch.items) for batch in batches] == [7, 7, 6]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".gz.jsonl"])
def test_gzip_is_known_by_its_bytes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in{suffix}"
    path.write_bytes(gzip.compress(line(1)) if "gz" in suffix else line(1))
    with open_rows(str(path), FIELDS) as reader:
        assert reader.size_bytes == path.stat().st_size
        batch = reader.next_batch(10)
        assert batch is not None
        assert batch.items[0].source_uri == "doc:1"
        assert reader.next_batch(10) is None
        assert reader.position_bytes == reader.size_bytes


def test_a_truncated_gzip_gives_what_stands_before_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    content = b"".join(line(number, data={"text": os.urandom(400).hex()}) for number in range(100))
    path.write_bytes(gzip.compress(content)[:-2_000])
    with open_rows(str(path), FIELDS) as reader:
        batch = reader.next_batch(1_000)
        assert batch is not None
        assert 0 < len(batch.items) < 100
        with pytest.raises(InvalidInput, match=f"cut short after line {len(batch.items)}"):
            reader.next_batch(1_000)


def test_what_only_claims_to_be_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fake.gz"
    path.write_bytes(b"\x1f\x8bnot gzip at all")
    with open_rows(str(path), FIELDS) as reader, pytest.raises(InvalidInput, match=r"not a valid \.gz file"):
        reader.next_batch(10)


def test_a_directory_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is a directory; name a file"), open_rows(str(tmp_path), FIELDS):
        pass
    missing = str(tmp_path / "missing")
    with pytest.raises(InvalidInput, match="can't be read: No such file"), open_rows(missing, FIELDS):
        pass


def test_an_empty_file_has_no_batch() -> None:
    assert read(b"") == []
    assert read(b"\n\n") == []


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text())
def test_decoding_is_exact(value: object) -> None:
    assert decode(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("number", "count"),
    [(b"2.225073858507201136" + b"0574097967091319" * 16 + b"e-308", 40_000), (b"7" * 4_200, 2_800)],
)
def test_long_numbers_let_other_threads_run(number: bytes, count: int) -> None:
    text = b"[" + b",".join([number] * count) + b"]"
    assert turns_beside(lambda: decode(text)) > 5
