"""A small application behind the service's HTTP server, and a client that sends any bytes."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.types import Message, Receive, Scope, Send

from app.api.event_streams import ENDLESS
from app.entrypoints.connections import ConnectionLimits
from app.entrypoints.service import HttpServer, listen
from support.waiting import PATIENCE_S

HOST = "127.0.0.1"
NARROW_BYTES = 8 * 2**10


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self, status: int, slug: str) -> dict[str, Any]:
        """Check that the response is a problem of the server, which closes the connection."""
        assert self.status == status, self
        assert self.headers["content-type"] == "application/problem+json"
        assert self.headers["connection"] == "close"
        told: dict[str, Any] = orjson.loads(self.body)
        assert told["type"] == f"urn:agent-storage:problem:{slug}"
        assert told["status"] == status
        assert told["request_id"] is None
        assert told["detail"]
        return told


@dataclass
class SmallApp:
    """Answers by path, and counts the requests in progress."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    begun: Counter[str] = field(default_factory=Counter)
    at_work: int = 0
    most_at_work: int = 0
    disconnects: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self.begun[scope["path"]] += 1
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await self._routes()[scope["path"]](scope, receive, send)
        finally:
            self.at_work -= 1

    def _routes(self) -> dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]]:
        return {
            "/echo": self._echo,
            "/early": self._early,
            "/held": self._held,
            "/large": self._large,
            "/endless": self._endless,
        }

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the query, the names of the headers, and the body."""
        body = await self._body(receive)
        if body is not None:
            names = [name.decode() for name, _ in scope["headers"]]
            told = {"query": scope["query_string"].decode(), "headers": names, "body": body.decode()}
            await _answer(send, orjson.dumps(told))

    async def _early(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer before the body is read."""
        await _answer(send, b"early")

    async def _held(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer when the test releases it; notices when the client disconnects."""
        leaving = asyncio.create_task(self._leaving(receive))
        await self.release.wait()
        leaving.cancel()
        await _answer(send, b"held")

    async def _large(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with as many bytes as the query says, 64 KiB at a time."""
        size = int(parse_qs(scope["query_string"])[b"bytes"][0])
        await send(_start(size))
        while size:
            part = min(size, 2**16)
            size -= part
            await send({"type": "http.response.body", "body": b"x" * part, "more_body": size > 0})

    async def _endless(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a stream that ends when the client disconnects."""
        scope["state"][ENDLESS] = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await self._leaving(receive)

    async def _body(self, receive: Receive) -> bytes | None:
        body: bytes = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                return body
        self.disconnects += 1
        return None

    async def _leaving(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnects += 1


def _start(size: int) -> Message:
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-length", str(size).encode())],
    }


async def _answer(send: Send, body: bytes) -> None:
    await send(_start(len(body)))
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Bare:
    """The running application."""

    app: SmallApp
    server: HttpServer
    port: int

    @property
    def connections(self) -> int:
        """How many connections are open on the server's side."""
        return len(self.server.server_state.connections)

    @asynccontextmanager
    async def connected(self, *, narrow: bool = False) -> AsyncIterator["Client"]:
        """Open a connection; it is aborted at the end, and unread data is dropped.

        A ``narrow`` one has a small receive buffer on the client's side.
        """
        sock = socket.socket()
        if narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
        sock.setblocking(False)  # noqa: FBT003 - takes no keyword
        await asyncio.get_running_loop().sock_connect(sock, (HOST, self.port))
        limit = NARROW_BYTES if narrow else 2**16
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
        try:
            yield Client(reader, writer)
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    @asynccontextmanager
    async def crowd(self, count: int, *, narrow: bool = False) -> AsyncIterator[list["Client"]]:
        """Open ``count`` connections, in the order in which the server accepts them."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.connected(narrow=narrow)) for _ in range(count)]


@dataclass(frozen=True)
class Client:
    """The client's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes, *, cut: int | None = None) -> None:
        """Send the data, at once or in separate pieces of ``cut`` bytes."""
        step = cut or max(1, len(data))
        for start in range(0, len(data), step):
            self.writer.write(data[start : start + step])
            await self.writer.drain()
            if cut:
                await asyncio.sleep(0.001)

    async def answer(self) -> Answer:
        """Read the next response."""
        async with asyncio.timeout(PATIENCE_S):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(first.split(" ")[1]), headers, body)

    async def asked(self, data: bytes, *, cut: int | None = None) -> Answer:
        """Send a request, and read the response."""
        await self.send(data, cut=cut)
        return await self.answer()

    async def end(self) -> bytes:
        """Read the rest until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionResetError):
                return await self.reader.read()
        return b""


@asynccontextmanager
async def serving_small(**limits: Any) -> AsyncIterator[Bare]:
    """A :class:`SmallApp` behind an ``HttpServer`` with these :class:`ConnectionLimits`."""
    app = SmallApp()
    with listen(HOST, 0) as listening:
        server = HttpServer(
            app, listening, shutdown_s=1.0, on_stop=app.release.set, limits=ConnectionLimits(**limits)
        )
        port = listening.getsockname()[1]
        running = asyncio.create_task(server.run_until_stopped())
        try:
            yield Bare(app, server, port)
        finally:
            server.stop()
            await running


def get(path: str, *headers: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: localhost", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request with a body."""
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(path: str, *chunks: bytes, trailers: bytes = b"") -> bytes:
    """A request with a chunked body, followed by trailers."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + b"0\r\n" + trailers + b"\r\n"
