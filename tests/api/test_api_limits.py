"""Limits on bodies: early rejection over real sockets, and a guard as exact as a parser."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.api import LOOPBACK, Api, ndjson, problem_of, raw_item, serving
from support.parts import settings_for
from support.waiting import until

from app.api.bodies import NDJSON
from app.api.json_guard import JsonGuard
from app.api.problems import Refused
from app.entrypoints.api import options_of
from app.intake.rows import MAX_LINE_BYTES

PATH = "/v1/projects/papers/extractions"
LIMITS = {"max_body_bytes": 20_000, "max_items": 10, "max_string_chars": 1_000, "max_json_depth": 8}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    options = options_of(settings_for(tmp_path, worker={"batch_size": 50}, api=LIMITS))
    async with serving(tmp_path, options=replace(options, chunk_patience_s=0.3)) as api:
        yield api


def head(*headers: str, path: str = PATH) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(*chunks: bytes) -> bytes:
    """The beginning of a chunked body that doesn't end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


def told(raw: bytes, status: int, slug: str) -> dict[str, Any]:
    """The problem in raw bytes."""
    start, _, body = raw.partition(b"\r\n\r\n")
    assert f" {status} ".encode() in start.splitlines()[0], raw
    assert b"content-type: application/problem+json" in start.lower()
    found: dict[str, Any] = orjson.loads(body)
    assert found["type"] == f"urn:agent-storage:problem:{slug}"
    assert found["request_id"].encode() in start
    return found


class TestRefusedBeforeTheBodyIsThere:
    async def test_too_many_bytes_announced(self, api: Api) -> None:
        told(await api.raw(head("content-length: 20001")), 413, "body-too-large")

    async def test_too_many_bytes_sent(self, api: Api) -> None:
        body = chunked(b'{"extractions": [', *[b" " * 1_000] * 20)
        told(await api.raw(head("transfer-encoding: chunked") + body), 413, "body-too-large")

    async def test_too_many_items(self, api: Api) -> None:
        body = chunked(b'{"extractions": [', *[b"{},"] * 11)
        told(await api.raw(head("transfer-encoding: chunked") + body), 413, "too-many-items")

    async def test_too_long_a_string(self, api: Api) -> None:
        body = chunked(b'{"extractions": [{"data": {"text": "', *[b"x" * 1_000] * 13)
        told(await api.raw(head("transfer-encoding: chunked") + body), 422, "string-too-long")

    async def test_too_deep(self, api: Api) -> None:
        body = chunked(b'{"extractions": [{"data": ' + b'{"x":' * 10)
        told(await api.raw(head("transfer-encoding: chunked") + body), 422, "nested-too-deep")

    async def test_every_route_with_a_body_has_the_limits(self, api: Api) -> None:
        for path in (
            "/v1/projects",
            "/v1/projects/papers/search",
            f"{PATH}/delete",
            "/v1/verify",
            "/v1/jobs/prune",
        ):
            told(await api.raw(head("content-length: 20001", path=path)), 413, "body-too-large")
            deep = chunked(b"[" * 20)
            told(await api.raw(head("transfer-encoding: chunked", path=path) + deep), 422, "nested-too-deep")


class TestTheLimitsThemselves:
    async def test_are_accepted(self, api: Api) -> None:
        assert (await api.hand_in([raw_item(n) for n in range(10)])).status_code == 202
        assert (await api.hand_in([raw_item(1, data={"text": "x" * 1_000})])).status_code == 202
        deep: Any = "x"
        for _ in range(7):
            deep = {"m": deep}
        assert (await api.hand_in([raw_item(1, data={**deep, "text": "x"})])).status_code == 202

    async def test_are_not_passed_by_one(self, api: Api) -> None:
        problem_of(await api.hand_in([raw_item(n) for n in range(11)]), 413, "too-many-items")
        answer = await api.hand_in([raw_item(1, data={"text": "x" * 1_001})])
        assert problem_of(answer, 422, "invalid-input")["field"] == "data.text"
        deep: Any = []
        for _ in range(8):
            deep = {"m": deep}
        answer = await api.hand_in([raw_item(1, data={**deep, "text": "x"})])
        problem_of(answer, 422, "nested-too-deep")

    async def test_hold_for_each_line(self, api: Api) -> None:
        for bad in (
            raw_item(1, data={"text": "x" * 1_001}),
            raw_item(1, data={"text": "x", "m": json.loads("[" * 8 + "]" * 8)}),
        ):
            answer = await api.hand_in([raw_item(n) for n in range(60)] + [bad], lines=True)
            assert problem_of(answer, 422, "invalid-input")["index"] == 60

    async def test_lines_may_be_as_many_as_one_likes(self, api: Api) -> None:
        items = [raw_item(n) for n in range(400)]
        assert len(ndjson(items)) > 2 * LIMITS["max_body_bytes"]
        assert (await api.accepted(items, lines=True))["new"] == 400

    async def test_a_line_without_an_end_is_refused_before_it_ends(self, api: Api) -> None:
        sent = head("transfer-encoding: chunked").replace(b"application/json", NDJSON.encode())
        answer = await api.raw(sent + chunked(b"x" * (MAX_LINE_BYTES + 1)))
        assert told(answer, 422, "invalid-input")["index"] == 0

    async def test_an_uneven_delivery_changes_nothing(self, api: Api) -> None:
        body = ndjson([raw_item(n, data={"text": "ü" * 50, "n": n}) for n in range(60)])

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 997):
                yield body[start : start + 997]

        one = await api.client.post(PATH, content=pieces(), headers={"content-type": NDJSON})
        other = await api.client.post(PATH, content=body, headers={"content-type": NDJSON})
        assert [each["id"] for each in one.json()["items"]] == [each["id"] for each in other.json()["items"]]


class TestSlowBodies:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("kind", "path"), [("application/json", PATH), (NDJSON, PATH), ("application/json", "/v1/projects")]
    )
    async def test_one_that_stops_coming_is_given_up(self, api: Api, kind: str, path: str) -> None:
        sent = head("content-length: 1000", path=path).replace(b"application/json", kind.encode()) + b"{"
        answer = await api.raw(sent)
        told(answer, 408, "body-too-slow")
        assert b"connection: close" in answer.lower()

    @pytest.mark.slow
    async def test_one_that_keeps_coming_is_waited_for(self, api: Api) -> None:
        async def slowly() -> AsyncIterator[bytes]:
            for number in range(6):
                await asyncio.sleep(0.1)
                yield ndjson([raw_item(number)])

        answer = await api.client.post(PATH, content=slowly(), headers={"content-type": NDJSON})
        assert answer.status_code == 202, answer.text


class TestFullLanes:
    async def test_too_many_callers_are_told_when_to_come_again(self, tmp_path: Path) -> None:
        full = {"executor": {"max_waiting": 1}}
        release = threading.Event()
        async with serving(tmp_path, sections=full) as api:
            lane = api.container.database_lane()
            held = [asyncio.create_task(lane.run(release.wait)) for _ in range(lane.limit + 1)]
            await until(lambda: lane.stats().waiting == 1)
            answer = await api.client.get("/v1/projects")
            problem_of(answer, 503, "saturated")
            assert int(answer.headers["retry-after"]) >= 1
            assert (await api.client.get("/health/live")).status_code == 200
            release.set()
            await asyncio.gather(*held)
            await api.get("/v1/projects")


class TestCrowds:
    async def test_past_the_bound_requests_are_refused_before_they_wait_for_anything(
        self, tmp_path: Path
    ) -> None:
        release = threading.Event()
        async with serving(tmp_path, sections={"executor": {"max_workers": 4}}) as api:
            lane = api.container.database_lane()
            held = [asyncio.create_task(lane.run(release.wait)) for _ in range(lane.limit)]
            await until(lambda: lane.stats().active == lane.limit)
            admitted = [asyncio.create_task(api.client.get("/v1/projects")) for _ in range(32)]
            await until(lambda: lane.stats().waiting == 32)
            for _ in range(20):
                answer = await api.client.post(PATH, content=b"x" * 1_000)
                assert "32 requests are in progress" in problem_of(answer, 503, "saturated")["detail"]
                assert (answer.headers["retry-after"], lane.stats().waiting) == ("1", 32)
            assert (await api.client.get("/health/live")).status_code == 200
            release.set()
            assert {answer.status_code for answer in await asyncio.gather(*admitted)} == {200}
            await asyncio.gather(*held)
            assert await api.get("/v1/projects")

    async def test_bodies_that_are_half_sent_take_no_place(self, tmp_path: Path) -> None:
        async with serving(tmp_path, sections={"executor": {"max_workers": 4}}) as api:
            with ExitStack() as stack:
                for _ in range(40):
                    client = stack.enter_context(socket.create_connection((LOOPBACK, api.client.base_url.port)))
                    client.sendall(head("content-length: 1000") + b"{")
                await asyncio.sleep(0.5)
                for _ in range(40):
                    await api.get("/v1/projects")

    async def test_callers_without_a_key_take_no_place(self, tmp_path: Path) -> None:
        sections = {"executor": {"max_workers": 4}, "api": {"api_keys": ["a-key-of-16-characters"]}}
        async with serving(tmp_path, sections=sections) as api:
            answers = await asyncio.gather(*(api.client.get("/v1/projects") for _ in range(100)))
        assert {answer.status_code for answer in answers} == {401}


# --- the guard ------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from(['"', "\\", '\\"', "[{", "]},"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


def pieces_of(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({cut % (len(body) + 1) for cut in cuts})
    for start, end in zip([0, *places], [*places, len(body)], strict=True):
        yield body[start:end]


def verdict(body: bytes, cuts: list[int], **limits: int) -> str | None:
    unlimited = JsonGuard(max_bytes=10**9, max_items=10**9, max_depth=10**9, max_string_chars=10**9)
    guard = replace(unlimited, **limits)  # type: ignore[arg-type]  # all limits are numbers
    try:
        for piece in pieces_of(body, cuts):
            guard.feed(piece)
    except Refused as refused:
        return refused.slug
    return None


def depth_of(value: object) -> int:
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth_of, members), default=0)
    return 0


CUTS = st.lists(st.integers(0, 10_000), max_size=20)


class TestTheGuard:
    @pytest.mark.slow
    @given(JSON, CUTS, st.booleans())
    def test_it_measures_depth_as_a_parser_would(self, value: object, cuts: list[int], escaped: bool) -> None:
        body = json.dumps(value, ensure_ascii=escaped).encode(errors="surrogatepass")
        depth = depth_of(value)
        assert verdict(body, cuts, max_depth=depth - 3) is None
        assert verdict(body, cuts, max_depth=depth - 4) == ("nested-too-deep" if depth else None)

    @pytest.mark.slow
    @given(st.lists(JSON, min_size=1, max_size=8), CUTS, st.booleans())
    def test_it_counts_the_items_of_the_outer_list(
        self, items: list[object], cuts: list[int], spaced: bool
    ) -> None:
        body = json.dumps({"extractions": items}, indent=1 if spaced else None).encode()
        assert verdict(body, cuts, max_items=len(items)) is None
        assert verdict(body, cuts, max_items=len(items) - 1) == ("too-many-items" if len(items) > 1 else None)

    @pytest.mark.slow
    @given(JSON, CUTS)
    def test_it_counts_bytes(self, value: object, cuts: list[int]) -> None:
        body = json.dumps(value).encode()
        assert verdict(body, cuts, max_bytes=len(body)) is None
        assert verdict(body, cuts, max_bytes=len(body) - 1) == "body-too-large"

    @given(st.text(max_size=50), CUTS)
    def test_a_string_within_its_limit_is_never_refused(self, text: str, cuts: list[int]) -> None:
        for ascii_ in (True, False):
            body = json.dumps([text, {text: text}], ensure_ascii=ascii_).encode(errors="surrogatepass")
            assert verdict(body, cuts, max_string_chars=len(text)) is None

    @given(st.integers(1, 50), CUTS)
    def test_a_string_far_beyond_its_limit_is(self, limit: int, cuts: list[int]) -> None:
        body = b'["' + b"x" * (limit * 12 + 10)
        assert verdict(body, cuts, max_string_chars=limit) == "string-too-long"

    @given(st.binary(max_size=200), CUTS)
    def test_it_takes_whatever_comes(self, body: bytes, cuts: list[int]) -> None:
        """The parser rejects broken JSON. The verdict depends on the bytes, not on the cuts."""
        for limits in ({"max_depth": 2}, {"max_items": 3}, {"max_bytes": 100}):
            assert verdict(body, cuts, **limits) == verdict(body, [], **limits)

    @pytest.mark.parametrize("text", [r'"\""', r'"\\"', r'"\\\""', r'"[{\\"', r'"\u005b\"["', '"é["'])
    def test_strings_are_followed_wherever_they_are_cut(self, text: str) -> None:
        body = f'{{"extractions": [{text}, {{"k": {text}}}, [{text}]]}}'.encode()
        for cut in range(len(body)):
            for other in range(cut, len(body), 3):
                assert verdict(body, [cut, other], max_depth=0, max_items=3) is None
                assert verdict(body, [cut, other], max_items=2) == "too-many-items"

    def test_many_small_pieces_of_a_long_string_take_no_square_time(self) -> None:
        """Each piece is scanned once; else a megabyte in pieces of 100 bytes would be 5 GB."""
        guard = JsonGuard(max_bytes=10**9, max_items=10, max_depth=10, max_string_chars=10**9)
        guard.feed(b'["')
        for _ in range(10_000):
            guard.feed(b"x" * 100)
        guard.feed(b'"]')
        assert guard._depth == 0


async def test_a_refused_connection_is_closed_and_the_next_is_served(api: Api) -> None:
    body = [b"x" * 10_000] * 10

    async def sent() -> AsyncIterator[bytes]:
        for piece in body:
            yield piece
            await asyncio.sleep(0)

    for _ in range(3):
        try:
            answer = await api.client.post(PATH, content=sent(), headers={"content-type": "application/json"})
        except httpx2.TransportError:
            continue  # the client went on writing to a closed connection
        problem_of(answer, 413, "body-too-large")
    await api.get("/v1/projects")
