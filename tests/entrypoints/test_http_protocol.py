"""The HTTP server's limits, over real sockets.

Heads, time, pipelines, unread responses, connections, the log.
"""

import asyncio
import logging

import orjson
import pytest
from support.bare_http import HOST, chunked, get, post, serving_small
from support.waiting import until

from app.entrypoints.connections import ConnectionLimits, Connections
from app.logs import Tally

KIB = 2**10
SHORT_S = 0.3
LONG_S = 3 * SHORT_S

CUTS = [None, 1_000, 7]


def header_lines(size: int, length: int = 100) -> bytes:
    """Header lines of about ``size`` bytes together."""
    return b"".join(b"x-%05d: %b\r\n" % (number, b"y" * (length - 11)) for number in range(size // length))


def head_with(lines: bytes, path: str = "/echo") -> bytes:
    return get(path)[:-2] + lines + b"\r\n"


class TestHeads:
    @pytest.mark.parametrize("cut", CUTS)
    async def test_a_url_may_have_16_kib_and_no_more(self, cut: int | None) -> None:
        longest = "/echo?" + "x" * (16 * KIB - len("/echo?"))
        async with serving_small() as bare:
            async with bare.connected() as client:
                answer = await client.asked(get(longest), cut=cut)
                assert orjson.loads(answer.body)["query"] == longest[len("/echo?") :]
            async with bare.connected() as client:
                told = (await client.asked(get(longest + "x"), cut=cut)).problem(414, "url-too-long")
                assert "16,384 bytes" in told["detail"]
                assert await client.end() == b""
            assert bare.app.begun["/echo"] == 1

    @pytest.mark.parametrize("cut", [None, 1_000])
    @pytest.mark.parametrize("length", [400, 2_000, 60_000])
    async def test_headers_may_have_64_kib_and_no_more(self, cut: int | None, length: int) -> None:
        fits = header_lines(60 * KIB, length)
        async with serving_small() as bare:
            async with bare.connected() as client:
                assert (await client.asked(head_with(fits), cut=cut)).status == 200
            async with bare.connected() as client:
                told = (await client.asked(head_with(fits + header_lines(6 * KIB)), cut=cut)).problem(
                    431, "headers-too-large"
                )
                assert "65,536 bytes" in told["detail"]
                assert await client.end() == b""
            assert bare.app.begun["/echo"] == 1

    @pytest.mark.parametrize("cut", [None, 100])
    async def test_headers_may_have_256_lines_and_no_more(self, cut: int | None) -> None:
        """64 KiB of the shortest lines are 13,000."""
        fits = b"a:b\r\n" * 255  # and one names the host
        async with serving_small() as bare:
            async with bare.connected() as client:
                answer = await client.asked(head_with(fits), cut=cut)
                assert len(orjson.loads(answer.body)["headers"]) == 256
            async with bare.connected() as client:
                (await client.asked(head_with(fits + b"a:b\r\n"), cut=cut)).problem(431, "headers-too-large")

    @pytest.mark.parametrize(
        "begun",
        [
            pytest.param(b"GET /echo HTTP/1.1\r\nx: ", id="a value"),
            pytest.param(b"GET /echo HTTP/1.1\r\nx", id="a name"),
            pytest.param(b"GET /echo", id="a URL"),
            pytest.param(chunked("/echo")[:-2] + b"x", id="a trailer's name"),
            pytest.param(chunked("/echo")[:-2] + b"x: ", id="a trailer's value"),
            pytest.param(chunked("/echo")[:-5] + b"1;", id="a chunk's extension"),
        ],
    )
    async def test_one_that_never_ends_is_refused_and_the_client_sees_it(self, begun: bytes) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(begun)
            sending = asyncio.create_task(client.send(b"y" * 8 * KIB * KIB))
            answer = await client.answer()
            answer.problem(answer.status, "url-too-long" if answer.status == 414 else "headers-too-large")
            assert answer.status in {414, 431}
            await sending  # it isn't reset while it writes

    async def test_blank_lines_before_one_without_an_end_are_refused(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(b"\r\n" * 100 * KIB)
            (await client.answer()).problem(431, "headers-too-large")

    async def test_trailers_are_counted_and_are_no_headers(self) -> None:
        async with serving_small() as bare:
            async with bare.connected() as client:
                answer = await client.asked(chunked("/echo", b"body", trailers=b"x-api-key: stolen\r\n"))
                told = orjson.loads(answer.body)
                assert told["body"] == "body"
                assert "x-api-key" not in told["headers"]
                assert (await client.asked(get("/echo"))).status == 200
            async with bare.connected() as client:
                sent = chunked("/echo", b"body", trailers=header_lines(100 * KIB, 1_000))
                (await client.asked(sent)).problem(431, "headers-too-large")

    async def test_what_is_no_http_is_a_problem_too(self) -> None:
        async with serving_small() as bare:
            for junk in (
                b"\x16\x03\x01\x02\x00" * 10,
                b"GET / HTTP/1.1\nhost: a\n\n",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ):
                async with bare.connected() as client:
                    (await client.asked(junk)).problem(400, "malformed-request")
                    assert await client.end() == b""

    async def test_junk_after_a_request_waits_for_its_answer(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(get("/held") + b"junk\r\n\r\n")
            await until(lambda: bare.app.at_work)
            bare.app.release.set()
            assert (await client.answer()).body == b"held"
            (await client.answer()).problem(400, "malformed-request")

    async def test_junk_in_the_midst_of_an_answer_is_not_answered(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(chunked("/endless", b"x")[:-5])
            begun = await client.reader.readuntil(b"first")
            await client.send(b"no chunk\r\n")
            assert b"HTTP/1.1" not in (await client.end()).replace(begun, b"")
            await until(lambda: bare.app.disconnects)

    @pytest.mark.parametrize("cut", [None, 30])
    async def test_the_offer_of_another_protocol_is_ignored(self, cut: int | None) -> None:
        """Java's client makes it in the first request of a connection, which may have a body."""
        offer = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB"]
        async with serving_small() as bare, bare.connected() as client:
            sent = post("/echo", b"GET /held HTTP/1.1\r\n\r\n", *offer)
            answer = await client.asked(sent, cut=cut)
            assert answer.status == 200
            if cut is None:
                assert orjson.loads(answer.body)["body"] == "GET /held HTTP/1.1\r\n\r\n"
                assert (await client.asked(get("/early"))).body == b"early"
            else:  # the parser has seen the offer; what follows is no request at least
                assert answer.headers["connection"] == "close"
                assert await client.end() == b""
            assert not bare.app.begun["/held"]


class TestTime:
    async def test_a_head_that_stops_coming_is_given_up(self) -> None:
        async with serving_small(head_s=SHORT_S, linger_s=SHORT_S) as bare, bare.connected() as client:
            (await client.asked(b"GET /echo HTTP/1.1\r\nhost:")).problem(408, "headers-too-slow")
            assert await client.end() == b""
            await until(lambda: not bare.connections)

    async def test_a_head_that_comes_byte_by_byte_is_given_up(self) -> None:
        async with serving_small(head_s=SHORT_S) as bare, bare.connected() as client:
            sending = asyncio.create_task(client.send(b"GET /echo?" + b"x" * 10_000, cut=1))
            (await client.answer()).problem(408, "headers-too-slow")
            sending.cancel()
            await asyncio.wait((sending,))

    async def test_a_second_head_has_its_time_too(self) -> None:
        async with serving_small(head_s=SHORT_S) as bare, bare.connected() as client:
            assert (await client.asked(get("/early") + b"GET /ea")).status == 200
            (await client.answer()).problem(408, "headers-too-slow")

    @pytest.mark.parametrize("before", [b"", get("/early")], ids=["at first", "after an answer"])
    async def test_an_idle_connection_is_closed_silently(
        self, before: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        limits = {"keep_alive_s" if before else "idle_s": SHORT_S}
        async with serving_small(**limits) as bare, bare.connected() as client:
            if before:
                assert (await client.asked(before)).status == 200
            assert await client.end() == b""
            await until(lambda: not bare.connections)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    async def test_a_request_at_work_may_take_longer(self) -> None:
        limits = {"head_s": SHORT_S, "idle_s": SHORT_S, "unread_s": SHORT_S}
        async with serving_small(**limits) as bare, bare.connected() as client:
            await client.send(get("/held"))
            await asyncio.sleep(LONG_S)
            bare.app.release.set()
            assert (await client.answer()).body == b"held"

    async def test_a_body_may_take_longer_than_a_head(self) -> None:
        limits = {"head_s": SHORT_S, "idle_s": SHORT_S, "unread_s": SHORT_S}
        async with serving_small(**limits) as bare, bare.connected() as client:
            sent = post("/echo", b"x" * 90)
            await client.send(sent[:-60])
            for start in (-60, -40, -20):
                await asyncio.sleep(SHORT_S)
                await client.send(sent[start : start + 20 or None])
            assert orjson.loads((await client.answer()).body)["body"] == "x" * 90

    async def test_a_body_that_is_answered_already_is_thrown_away_and_the_next_request_served(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            body = b"x" * 4 * KIB * KIB
            assert (await client.asked(post("/early", body))).body == b"early"
            assert (await client.asked(post("/early", body) + get("/echo"))).body == b"early"
            assert (await client.answer()).status == 200

    async def test_a_body_that_is_answered_already_has_its_time(self) -> None:
        async with serving_small(unread_s=SHORT_S) as bare, bare.connected() as client:
            assert (await client.asked(post("/early", b"x" * 1_000)[:-1])).body == b"early"
            assert await client.end() == b""
            await until(lambda: not bare.connections)


class TestHalfClosed:
    @pytest.mark.parametrize("sent", [get("/held"), post("/held", b"body"), chunked("/held", b"body")])
    async def test_a_client_that_has_ended_its_side_gets_its_answer(self, sent: bytes) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(sent)
            client.writer.write_eof()
            await until(lambda: bare.app.at_work)
            await asyncio.sleep(SHORT_S)
            bare.app.release.set()
            assert (await client.answer()).body == b"held"
            assert await client.end() == b""
            await until(lambda: not bare.connections)

    async def test_so_does_one_with_several_requests(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(b"".join(get(f"/echo?{number}") for number in range(20)))
            client.writer.write_eof()
            for number in range(20):
                assert orjson.loads((await client.answer()).body)["query"] == str(number)
            assert await client.end() == b""
            await until(lambda: not bare.connections)

    async def test_a_large_answer_comes_whole(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(get(f"/large?bytes={16 * KIB * KIB}"))
            client.writer.write_eof()
            assert len((await client.answer()).body) == 16 * KIB * KIB

    @pytest.mark.parametrize("sent", [post("/echo", b"body")[:-1], chunked("/echo", b"body")[:-2]])
    async def test_a_request_that_isn_t_whole_has_lost_its_client(self, sent: bytes) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(sent)
            await until(lambda: bare.app.at_work)
            client.writer.write_eof()
            assert await client.end() == b""
            await until(lambda: bare.app.disconnects == 1)

    @pytest.mark.parametrize("sent", [b"", b"GET /ec"])
    async def test_one_without_a_request_is_closed(self, sent: bytes) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(sent)
            client.writer.write_eof()
            assert await client.end() == b""
            await until(lambda: not bare.connections)

    async def test_an_endless_stream_ends(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(get("/endless"))
            await client.reader.readuntil(b"first")
            client.writer.write_eof()
            await until(lambda: bare.app.disconnects == 1)


class TestPipelines:
    @pytest.mark.parametrize("cut", [None, 1_000, 37])
    async def test_requests_are_answered_in_turn_one_at_a_time(self, cut: int | None) -> None:
        sent = b""
        for number in range(30):
            body = b"%d\r\n\r\nGET / HTTP/1.1\r\n\r\n" % number
            sent += (
                get(f"/echo?{number}"),
                post(f"/echo?{number}", body),
                chunked(f"/echo?{number}", body, b"-", trailers=b"a: b\r\n"),
            )[number % 3]
        async with serving_small() as bare, bare.connected() as client:
            sending = asyncio.create_task(client.send(sent, cut=cut))
            for number in range(30):
                told = orjson.loads((await client.answer()).body)
                assert told["query"] == str(number)
                assert told["body"].startswith(f"{number}\r\n" if number % 3 else "")
                assert told["body"].endswith(("", "\r\n\r\n", "-")[number % 3])
            await sending
            assert bare.app.most_at_work == 1
            assert bare.app.begun["/echo"] == 30

    async def test_what_follows_a_request_at_work_is_not_read(self) -> None:
        async with serving_small() as bare, bare.connected() as client:
            await client.send(get("/held"))
            await until(lambda: bare.app.at_work)
            sending = asyncio.create_task(client.send(get("/early") * 500_000))
            await asyncio.sleep(SHORT_S)
            assert not sending.done()  # some 20 MB, of which the system keeps a part
            assert bare.app.begun == {"/held": 1}
            sending.cancel()
            await asyncio.wait((sending,))

    async def test_2000_whose_answers_nobody_reads_are_not_begun_and_their_client_is_dropped(self) -> None:
        async with serving_small(unread_s=SHORT_S) as bare, bare.connected(narrow=True) as client:
            client.writer.write(get(f"/large?bytes={KIB * KIB}") * 2_000)
            await until(lambda: bare.app.at_work)
            await until(lambda: not bare.connections)
            assert bare.app.begun["/large"] < 20
            await until(lambda: not bare.app.at_work)

    @pytest.mark.parametrize("headers", [[], ["connection: close"]])
    async def test_one_answer_that_nobody_reads_is_dropped(self, headers: list[str]) -> None:
        """After the application is done, the server buffers up to 64 KiB, and the system more."""
        async with (
            serving_small(unread_s=SHORT_S, idle_s=SHORT_S) as bare,
            bare.connected(narrow=True) as client,
        ):
            await client.send(get("/large?bytes=6000000", *headers))
            await until(lambda: bare.app.begun)
            await until(lambda: not bare.connections)

    async def test_one_that_is_read_slowly_is_not(self) -> None:
        async with (
            serving_small(unread_s=SHORT_S, idle_s=SHORT_S) as bare,
            bare.connected(narrow=True) as client,
        ):
            size = 5_000_000
            await client.send(get(f"/large?bytes={size}", "connection: close"))
            await client.reader.readuntil(b"\r\n\r\n")
            for _ in range(20):
                size -= len(await client.reader.readexactly(50_000))
                await asyncio.sleep(SHORT_S / 5)
            assert len(await client.end()) == size


class TestConnections:
    async def test_a_new_one_takes_the_place_of_the_one_that_waited_longest(self) -> None:
        patient = {"max_connections": 16, "idle_s": 60.0, "head_s": 60.0}
        async with serving_small(**patient) as bare, bare.crowd(16) as clients:
            await until(lambda: bare.connections == 16)
            assert (await clients[0].asked(get("/early"))).status == 200  # now the second waits longest
            await clients[1].send(b"GET /half")  # and a part of a request is no request
            async with bare.crowd(3) as newcomers:
                for number, client in enumerate(newcomers, 1):
                    assert (await client.asked(get("/early"))).status == 200
                    assert await clients[number].end() == b""
                assert bare.connections == 16
            assert (await clients[0].asked(get("/early"))).status == 200

    async def test_those_at_work_are_left_and_the_new_one_refused(self) -> None:
        async with serving_small(max_connections=16) as bare, bare.crowd(16) as clients:
            for each in clients:
                await each.send(get("/held"))
            await until(lambda: bare.app.at_work == 16)
            async with bare.connected() as client:
                answer = await client.answer()
                answer.problem(503, "saturated")
                assert answer.headers["retry-after"] == "1"
                assert await client.end() == b""
            bare.app.release.set()
            for each in clients:
                assert (await each.answer()).body == b"held"
            async with bare.connected() as client:
                assert (await client.asked(get("/early"))).status == 200

    async def test_one_that_takes_nothing_of_its_answer_makes_room(self) -> None:
        async with serving_small(max_connections=16) as bare, bare.crowd(16, narrow=True) as stuck:
            for each in stuck:
                await each.send(get("/large?bytes=100000000"))
            await until(lambda: bare.app.at_work == 16)
            await asyncio.sleep(SHORT_S)
            for _ in range(20):
                async with bare.connected() as client:
                    assert (await client.asked(get("/early"))).status == 200

    @pytest.mark.parametrize(
        ("files", "most"), [(65_536, 1_000), (1_024, 512), (256, 128), (4, 16), (2**31, 1_000)]
    )
    def test_their_number_leaves_files_to_the_stores(self, files: int, most: int) -> None:
        assert ConnectionLimits().within(files) == most

    def test_one_that_is_forgotten_doesn_t_come_back(self) -> None:
        connections, one = Connections(ConnectionLimits()), Looked()
        assert connections.admit(one, None)
        connections.forget(one)
        connections.waits(one)
        connections.look(0.0)
        assert one.looks == 0


class Looked:
    looks = 0

    def look(self, now: float) -> None:  # noqa: ARG002 - a connection's signature
        self.looks += 1

    def drop(self) -> None:
        raise AssertionError


class TestTheLog:
    async def test_a_thousand_malformed_requests_are_a_line(self, caplog: pytest.LogCaptureFixture) -> None:
        async with serving_small() as bare:
            for _ in range(20):
                async with bare.crowd(50) as clients:
                    for each in clients:
                        (await each.asked(b"junk\r\n\r\n")).problem(400, "malformed-request")
        lines = [record for record in caplog.records if "malformed" in record.getMessage()]
        assert 1 <= len(lines) <= 30  # one in 10 s, however long this takes here
        assert lines[0].__dict__["last_client"] == HOST

    @pytest.fixture
    def tally(self) -> Tally:
        return Tally(logging.getLogger("app.test"), every_s=SHORT_S)

    async def test_each_kind_is_logged_at_once_and_then_counted(
        self, tally: Tally, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(100):
            tally.note("too long", "10.0.0.1")
            tally.note("too slow", "10.0.0.2")
        tally.look()
        assert logged(caplog) == [("too long", 1), ("too slow", 1)]
        await asyncio.sleep(SHORT_S)
        tally.look()
        tally.look()
        assert logged(caplog)[2:] == [("too long", 99), ("too slow", 99)]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    records = [record for record in caplog.records if record.name == "app.test"]
    return [(record.getMessage(), record.__dict__["times"]) for record in records]
