"""What a client can't take up, however it goes about it: memory, the event loop, streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from support.api import LOOPBACK, Api, checked, problem_of, raw_item, serving
from support.turns import longest_hold
from support.waiting import until

from app.api.bodies import NDJSON
from app.api.event_streams import MAX_STREAMS, MAX_STREAMS_A_CALLER
from app.api.json_guard import JsonGuard
from app.intake.rows import MAX_LINE_BYTES

PATH = "/v1/projects/papers/extractions"
HTML = r"<a href=\"x\">\\ and \n</a> "


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


@pytest.mark.parametrize("blank", [b" ", b"\t"])
async def test_a_line_of_blanks_without_an_end_is_refused(api: Api, blank: bytes) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {NDJSON}\r\ntransfer-encoding: chunked\r\n\r\n"
    line = b"%x\r\n%b\r\n1\r\n%b\r\n" % (MAX_LINE_BYTES, blank * MAX_LINE_BYTES, blank)
    start, _, body = (await api.raw(head.encode() + line)).partition(b"\r\n\r\n")
    assert b" 422 " in start.splitlines()[0]
    told = orjson.loads(body)
    assert (told["type"], told["index"]) == ("urn:agent-storage:problem:invalid-input", 0)
    assert "longer" in told["detail"]


async def test_a_long_text_of_escapes_is_handed_in(api: Api) -> None:
    """If the guard restarted at each quotation mark, this would block the loop for minutes."""
    text = (HTML * 20_000).encode()
    body = b'{"extractions": [%b]}' % orjson.dumps(raw_item(1)).replace(b'"n":1', b'"n":"%b"' % text)
    headers = {"content-type": "application/json"}
    answer = checked(await api.client.post(PATH, content=body, headers=headers), 202)
    shown = await api.get(f"/v1/extractions/{answer['items'][0]['id']}")
    assert shown["data"]["n"] == orjson.loads(b'"%b"' % text)


async def test_an_extraction_that_is_longer_than_a_line_may_be_is_refused_by_its_index(api: Api) -> None:
    texts = {f"m{number}": "x" * 900_000 for number in range(15)}
    body = orjson.dumps({"extractions": [raw_item(1), {**raw_item(2), **texts}]})
    answer = await api.client.post(PATH, content=body, headers={"content-type": "application/json"})
    told = problem_of(answer, 422, "invalid-input")
    assert (told["index"], told["detail"]) == (1, "item 1: it is longer than 8 MiB")


@pytest.mark.parametrize("size", [97, 2**16])
def test_the_guard_looks_at_each_byte_once(size: int) -> None:
    guard = JsonGuard(max_bytes=10**9, max_items=10, max_depth=10, max_string_chars=10**9)
    text = b'["' + HTML.encode() * 40_000 + b'"]'
    for start in range(0, len(text), size):
        guard.feed(text[start : start + size])
    assert (guard._depth, guard._in_string) == (0, False)


async def test_of_streams_asked_for_at_once_no_more_are_opened_than_may_be(api: Api) -> None:
    job = (await api.accepted([raw_item(1)]))["job_id"]
    writers: list[asyncio.StreamWriter] = []

    async def status(number: int) -> int:
        """The status of a stream for one of seven callers, each with its own address."""
        address = f"127.0.0.{2 + number // MAX_STREAMS_A_CALLER}"
        reader, writer = await asyncio.open_connection(LOOPBACK, api.port, local_addr=(address, 0))
        writers.append(writer)
        writer.write(f"GET /v1/jobs/{job}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])

    statuses = Counter(await asyncio.gather(*map(status, range(MAX_STREAMS + 40))))
    assert statuses == {200: MAX_STREAMS, 503: 40}
    for writer in writers:
        writer.close()
    await until(lambda: api.app.state.streams.open_streams == 0)


async def test_a_body_that_is_no_extractions_is_small(api: Api) -> None:
    body = orjson.dumps(
        {"query": "x" * 100, "where": {"path": "y" * 900_000, "op": "z" * 900_000, "value": "w" * 900_000}}
    )
    headers = {"content-type": "application/json"}
    answer = await api.client.post("/v1/projects/papers/search", content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:agent-storage:problem:body-too-large")


async def test_texts_of_filters_are_composed_off_the_event_loop(api: Api) -> None:
    await api.accepted([raw_item(1)])
    await api.work()
    text = ("a" + "\u0315\u0300" * 490) * 10
    where = {"path": "n", "op": "in", "values": [f"{text}{number}" for number in range(100)]}
    for path, body in (
        ("/v1/projects/papers/search", {"query": "x", "where": where}),
        (f"{PATH}/delete", {"filters": {"where": where}}),
    ):
        content = orjson.dumps(body)
        headers = {"content-type": "application/json"}
        assert await longest_hold(api.client.post(path, content=content, headers=headers)) < 0.4
