"""A JSON array read element by element, exactly, and in bounded memory."""

import gzip
import io
import json
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.intake import json_array
from app.intake.byte_stream import BrokenStream, ByteStream
from app.intake.json_array import JsonArray
from app.intake.mapping import ColumnMapping
from app.intake.rows import MAX_LINE_BYTES, RowReader

ANY_KEY = ColumnMapping(rest="data")


def source_of(content: bytes, mapping: ColumnMapping = ANY_KEY) -> JsonArray:
    raw: Any = io.BufferedReader(cast(Any, io.BytesIO(content)))
    return JsonArray(ByteStream(raw), "it.json", mapping)


def elements(content: bytes) -> Iterator[bytes]:
    source = source_of(content)
    while (row := source.next_row()) is not None:
        yield source.raw(row)


def element(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "source_uri": f"doc:{number}",
        "extraction_type": "fact",
        "data": {"text": f'fact [{number}]}} \\ " , é'},
        **changes,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=200)
@given(st.lists(JSON, max_size=6), st.sampled_from([None, 0, 3]), st.booleans(), st.integers(1, 9))
def test_every_element_comes_once_wherever_the_pieces_end(
    values: list[Any], indent: int | None, ascii_only: bool, piece: int
) -> None:
    content = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_PIECE_BYTES", piece)
        found = list(elements(content))
    assert [json.loads(each.decode(errors="surrogatepass")) for each in found] == values


@settings(max_examples=300)
@given(st.lists(JSON, max_size=3), st.integers(0, 60), st.binary(max_size=3), st.integers(1, 9))
def test_any_bytes_end_or_are_refused(values: list[Any], cut: int, more: bytes, piece: int) -> None:
    content = b"[" + json.dumps(values).encode()[1 : 1 + cut] + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_PIECE_BYTES", piece)
        try:
            assert len(list(elements(content))) <= len(content)
        except BrokenStream as error:
            assert str(error)  # noqa: PT017 - either is right


@pytest.mark.parametrize("content", [b"[]", b" [ ] \n", b"\xef\xbb\xbf[]\n", b"", b"  "])
def test_no_element(content: bytes) -> None:
    assert list(elements(content)) == []


@pytest.mark.parametrize(
    ("content", "count", "reason"),
    [
        (b'[{"a": 1}, {"a"', 1, "the array isn't closed"),
        (b'[{"a": 1}', 1, "the array isn't closed"),
        (b'[{"a": 1},', 1, "the array isn't closed"),
        (b'[{"a": 1},]', 1, "a value is missing before or after a comma"),
        (b"[,1]", 0, "a value is missing before or after a comma"),
        (b'[{"a": 1} {"a": 2}]', 1, "neither a comma nor the closing bracket"),
        (b'[{"a": 1}] {"a": 2}', 1, "something follows"),
        (b'["never closed]', 0, "the array isn't closed"),
        (b"12", 0, "not a JSON array"),
    ],
)
def test_an_array_that_is_broken_gives_what_stands_before(content: bytes, count: int, reason: str) -> None:
    source = source_of(content)
    for _ in range(count):
        assert source.next_row() is not None
    with pytest.raises(BrokenStream, match=reason):
        source.next_row()


def test_numbers_stay_exact_and_a_key_twice_is_refused() -> None:
    content = b'[{"n": 9007199254740993, "big": 123456789012345678901}, {"a": 1, "a": 2}]'
    source = source_of(content)
    first, second = source.next_row(), source.next_row()
    assert first is not None
    assert second is not None
    assert source.value(first) == {"data": {"n": 9007199254740993, "big": 123456789012345678901}}
    assert json.loads(source.line(first)) == {"data": {"n": 9007199254740993, "big": 123456789012345678901}}
    with pytest.raises(InvalidInput, match="the key 'a' is twice"):
        source.value(second)


@pytest.mark.parametrize("packed", [False, True])
def test_bad_elements_are_named_and_the_others_read(packed: bool) -> None:
    bad = [1, "text", [{}], None, {"source_uri": "x", "extraction_type": "f"}]
    content = json.dumps([element(1), *bad, element(7)], indent=2).encode()
    source = source_of(gzip.compress(content) if packed else content, ColumnMapping())
    reader = RowReader(source, name="it", text_fields=("text",), skip_invalid=True)
    reader.begin()
    batch = reader.next_batch(100)
    assert batch is not None
    assert [item.source_uri for item in batch.items] == ["doc:1", "doc:7"]
    assert [(reject.line, reject.reason) for reject in batch.rejects] == [
        (2, "an extraction is a JSON object, not a number"),
        (3, "an extraction is a JSON object, not a string"),
        (4, "an extraction is a JSON object, not an array"),
        (5, "an extraction is a JSON object, not null"),
        (6, "data: missing"),
    ]


def test_an_element_is_bounded() -> None:
    content = b'[{"a": 1}, {"b": "' + b"x" * (2 * MAX_LINE_BYTES) + b'"}]'
    found = elements(content)
    assert next(found) == b'{"a": 1}'
    with pytest.raises(BrokenStream, match="longer than 8 MiB"):
        next(found)


def test_memory_doesnt_grow_with_the_array() -> None:
    source = source_of(b"[" + b",".join(json.dumps(element(n)).encode() for n in range(30_000)) + b"]")
    most = 0
    while source.next_row() is not None:
        most = max(most, len(source._buffer))
    assert most < 600_000
