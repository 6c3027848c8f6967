"""Fuzzing: any input gives a result or one of the project's errors.

Seeds are mutated, so that many inputs are almost valid.
"""

import base64
import gzip
import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import conditions as drawn
from support.api import raw_item
from support.served import served

from app.api.bodies import NDJSON
from app.domain.conditions import Compare, InData, Op
from app.domain.filters import Filters
from app.domain.items import Item, parse_item
from app.errors import InvalidInput
from app.intake.byte_stream import ByteStream
from app.intake.exact_json import decode
from app.intake.json_lines import JsonLines
from app.intake.rows import RowReader
from app.intake.where_json import write_where_json
from app.intake.where_text import parse_where
from app.services.storage.conditions.compiling import holds
from app.services.storage.qdrant.filters import edge_filter, grpc_filter, rest_filter

pytestmark = pytest.mark.slow

FUZZ = int(os.environ.get("TEST_FUZZ", "1"))
"""How many times as long as in every run."""

FIELDS = ("fact_text", "text")
SEEDS = [
    orjson.dumps(raw_item(1)),
    json.dumps(raw_item(2, confidence=1e-7, source_group=None)).encode(),
    json.dumps(raw_item(3, data={"text": "é", "n": [2**63, -0.0, 1e308, {"k": "\ud83d\ude00"}]})).encode(),
    b'{"source_uri":"\\ud800","extraction_type":"x","data":{"text":"a","b":12345678901234567890123}}',
    b"[" * 500,
    b'{"data":' * 500,
    b"1" * 5000,
    b"\xef\xbb\xbf{}",
    b"\x1f\x8b\x08\x00",
]
PIECES = st.sampled_from(
    [
        *b'[]{},:"\\',
        *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"\n"),
    ]
).map(lambda piece: bytes([piece]) if isinstance(piece, int) else piece)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), PIECES | st.binary(max_size=4)), max_size=6)


@st.composite
def almost_lines(draw: st.DrawFn) -> bytes:
    """A line that is right but for a few places."""
    line = draw(st.sampled_from(SEEDS))
    for where, dropped, put in draw(CHANGES):
        start = int(where * len(line))
        line = line[:start] + put + line[start + dropped :]
    return line


LINES = st.binary(max_size=60) | almost_lines()

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def sent(value: object) -> bytes:
    """JSON with all that Python's own writer lets through: NaN, lone surrogates, huge numbers."""
    return json.dumps(value).encode()


def outcome(call: Callable[[], object]) -> object:
    """Return the result of a call, or its InvalidInput; any other exception is a fault."""
    try:
        return call()
    except InvalidInput as refused:
        return refused


# --- lines and items ------------------------------------------------------------------------------


@settings(max_examples=400 * FUZZ, database=None)
@given(LINES)
@example(b"[" * 200_000)
@example(b'{"a":' * 100_000)
@example(b'"' + b"\\u0041" * 100_000)
@example(b"-" + b"9" * 100_000)
@example(b"1." + b"9" * 100_000 + b"e5")
@example(b"[" + b"1" * 17 + b",1" * 50_000)
def test_any_bytes_of_a_line_are_an_item_or_refused(line: bytes) -> None:
    found = outcome(lambda: parse_item(decode(line), FIELDS))
    if isinstance(found, InvalidInput):
        assert 0 < len(str(found)) < 1_000
    else:
        assert isinstance(found, Item)
        assert orjson.loads(orjson.dumps(found.data)) == found.data
        assert found.confidence is None or 0 <= found.confidence <= 1


@settings(max_examples=150 * FUZZ, database=None)
@given(st.lists(LINES, max_size=5), st.booleans(), st.booleans(), st.integers(1, 3))
def test_any_stream_of_lines_is_read_to_its_end(
    lines: list[bytes], packed: bool, skip: bool, size: int
) -> None:
    content = b"\n".join(lines)
    raw: Any = io.BufferedReader(cast(Any, io.BytesIO(gzip.compress(content) if packed else content)))
    reader = RowReader(JsonLines(ByteStream(raw)), name="it", text_fields=FIELDS, skip_invalid=skip)
    seen = 0
    try:
        while (batch := reader.next_batch(size)) is not None:
            seen += len(batch.items) + len(batch.rejects)
            assert all(reject.reason for reject in batch.rejects)
    except InvalidInput:
        assert content.startswith(b"\x1f\x8b")  # it looked packed and wasn't
        assert not packed
        return
    if packed or not content.startswith(b"\x1f\x8b"):
        assert seen == sum(1 for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip())


@settings(max_examples=200 * FUZZ, database=None)
@given(st.binary(max_size=200))
def test_any_packed_bytes_are_read_or_refused(rest: bytes) -> None:
    raw: Any = io.BufferedReader(cast(Any, io.BytesIO(gzip.compress(SEEDS[0] + b"\n")[:-6] + rest)))
    reader = RowReader(JsonLines(ByteStream(raw)), name="it", text_fields=FIELDS, skip_invalid=True)
    ended = outcome(lambda: list(iter(lambda: reader.next_batch(10), None)))
    assert isinstance(ended, list) or str(ended).startswith("it: ")


@settings(max_examples=200 * FUZZ, database=None)
@given(
    st.dictionaries(
        st.sampled_from(["source_uri", "source_group", "extraction_type", "confidence", "data"]) | st.text(),
        JSON,
    )
)
def test_any_value_is_an_item_or_refused(raw: dict[str, Any]) -> None:
    found = outcome(lambda: parse_item({**raw_item(1), **raw}, FIELDS))
    assert isinstance(found, Item) or str(found)


@pytest.mark.parametrize(
    "line", [b"[" * 1_000_000, b'{"":' * 300_000, b"0" * 4_000_000, b'"' + b"\\" * 4_000_001]
)
def test_a_line_made_to_be_slow_takes_no_square_time(line: bytes) -> None:
    """Ten times the line takes about ten times the CPU time; quadratic time would be a hundred."""

    def seconds(line: bytes) -> float:
        started = time.thread_time()
        assert isinstance(outcome(lambda: decode(line)), InvalidInput)
        return time.thread_time() - started

    tenth = min(seconds(line[: len(line) // 10]) for _ in range(3))
    assert min(seconds(line) for _ in range(3)) < 40 * max(tenth, 0.002)


# --- filters --------------------------------------------------------------------------------------


@settings(max_examples=300 * FUZZ, database=None)
@given(st.text() | LINES.map(lambda line: "a=" + line.decode(errors="surrogateescape")))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    def tried() -> str:
        return "".join(str(holds(parse_where(text), dialect)) for dialect in ("sqlite", "postgresql"))

    assert str(outcome(tried))


@settings(max_examples=200 * FUZZ, database=None)
@given(st.lists(st.text(), max_size=3), SCALARS)
@example(["\x1f"], math.inf)
@example(['"'], 2**63)
def test_any_path_and_value_are_a_condition_or_refused(path: list[str], value: Any) -> None:
    try:
        condition = Compare(InData(tuple(path)), Op.EQ, value)
    except InvalidInput:
        return
    for dialect in ("sqlite", "postgresql"):
        assert str(holds(condition, dialect))
    assert path
    assert not isinstance(value, float) or math.isfinite(value)
    assert not isinstance(value, int) or -(2**63) <= value < 2**63


@settings(max_examples=150 * FUZZ, database=None)
@given(
    st.text(),
    st.lists(st.text(), max_size=3),
    st.floats(),
    st.lists(st.uuids().map(str) | st.text(), max_size=2),
)
def test_any_filter_of_a_search_is_built_or_refused(
    project: str, groups: list[str], bound: float, ids: list[str]
) -> None:
    try:
        filters = Filters(
            project_id=project,
            source_groups=tuple(groups),
            extraction_types=tuple(groups),
            min_confidence=bound,
            extraction_ids=tuple(ids),
        )
    except InvalidInput:
        return
    try:
        assert edge_filter(filters) is not None
        assert rest_filter(filters) is not None
        assert grpc_filter(filters) is not None
    except UnicodeEncodeError:
        assert any("\ud800" <= char <= "\udfff" for text in (project, *groups) for char in text)


# --- the API --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with served(tmp_path_factory.mktemp("fuzz")) as (client, _):
        answer = client.post("/v1/projects/papers/extractions", json={"extractions": [raw_item(1)]})
        assert answer.status_code == 202
        yield client


def accepted_or_refused(answer: httpx2.Response) -> None:
    assert answer.status_code < 500, answer.text
    if not answer.is_success:
        assert answer.json()["detail"]


API = settings(max_examples=80 * FUZZ, database=None, suppress_health_check=list(HealthCheck))
WHERES = st.recursive(
    drawn.conditions.map(write_where_json)
    | st.fixed_dictionaries(
        {"path": st.text(), "op": st.text() | JSON}, optional={"value": JSON, "values": JSON}
    ),
    lambda inner: st.dictionaries(st.sampled_from(["and", "or", "not"]), st.lists(inner) | inner, max_size=2),
)
SEARCHES = st.fixed_dictionaries(
    {"query": st.text() | JSON},
    optional={
        "where": WHERES | st.dictionaries(st.text(), JSON, max_size=3) | JSON,
        "source_groups": st.lists(st.text(), max_size=3) | JSON,
        "extraction_types": st.lists(st.text(), max_size=3) | JSON,
        "min_confidence": JSON,
        "max_confidence": st.floats() | JSON,
        "limit": st.integers() | JSON,
    },
)


@API
@given(SEARCHES | JSON)
@example({"query": "x", "where": {"path": '"\\""', "op": "=", "value": 2**63}})
@example({"query": "x", "where": {"path": "a", "op": "=", "value": 1e999}})
@example({"query": "x", "where": {"not": {"not": {"and": [{}]}}}})
def test_any_search_is_answered_or_refused(client: httpx2.Client, body: object) -> None:
    json_of = {"content-type": "application/json"}
    accepted_or_refused(client.post("/v1/projects/papers/search", content=sent(body), headers=json_of))


@API
@given(SEARCHES | JSON, LINES)
def test_any_deletion_is_done_or_refused(client: httpx2.Client, filters: object, line: bytes) -> None:
    json_of = {"content-type": "application/json"}
    path = "/v1/projects/none/extractions/delete"
    for body in (sent({"filters": filters}), sent({"ids": filters}), line):
        accepted_or_refused(client.post(path, content=body, headers=json_of))


@API
@given(st.lists(LINES, max_size=3), st.sampled_from([NDJSON, "application/json"]))
def test_any_body_is_taken_in_or_refused(client: httpx2.Client, lines: list[bytes], kind: str) -> None:
    body = b"\n".join(lines) if kind == NDJSON else b'{"extractions": [' + b",".join(lines) + b"]}"
    accepted_or_refused(
        client.post("/v1/projects/any/extractions", content=body, headers={"content-type": kind})
    )


QUERY = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["1", "-1", "1e999", "nan", "inf", "0x1", "9" * 400]
)


@API
@given(
    st.sampled_from(
        [
            "extraction_types",
            "source_groups",
            "where",
            "min_confidence",
            "max_confidence",
            "limit",
            "cursor",
            "status",
            "project",
        ]
    ),
    QUERY,
)
def test_any_query_is_answered_or_refused(client: httpx2.Client, name: str, value: str) -> None:
    for path in ("/v1/projects", "/v1/projects/papers/extractions", "/v1/jobs"):
        accepted_or_refused(client.get(path, params={name: value}))


@API
@given(
    st.lists(JSON, max_size=3), st.sampled_from(["/v1/jobs", "/v1/projects", "/v1/projects/papers/extractions"])
)
def test_any_place_in_a_cursor_is_answered_or_refused(
    client: httpx2.Client, place: list[object], path: str
) -> None:
    cursor = base64.urlsafe_b64encode(sent(place)).decode().rstrip("=")
    accepted_or_refused(client.get(path, params={"cursor": cursor}))
