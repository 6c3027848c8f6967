"""The part of Qdrant's REST protocol that the repository uses, with faults on request.

In a test: ``with QdrantStub() as stub: ... stub.url``. Each request consumes one of
``stub.faults``. As a program, ``python -m support.qdrant_stub --delay 0.02 --canned`` prints its
URL and serves until its stdin is closed.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from support.qdrant_engine import Engine, Json, Refused

_MAX_BODY_BYTES = 32 * 1024 * 1024
_ORDERED = {"status": {"error": "a fault was ordered"}}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one request.

    ``status`` is the status of the answer; ``cut`` closes the connection after that many bytes of
    the answer (by a reset if ``reset``); ``after_effect`` carries the request out first;
    ``delay_s`` delays the answer.
    """

    status: int | None = None
    retry_after: str | None = None
    cut: int | None = None
    reset: bool = False
    after_effect: bool = False
    delay_s: float = 0.0


@dataclass
class QdrantStub:
    delay_s: float = 0.0
    canned: bool = False
    """Answer every query with the same points, so that a benchmark measures the client."""
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault = field(default_factory=Fault)
    """The fault of every request when ``faults`` is empty."""
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    """The method, path and body size of each request."""
    url: str = ""
    api_keys: set[str] = field(default_factory=set)
    connections: int = 0
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.engine = Engine(canned=self.canned)
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="qdrant-stub")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.engine.close()

    def drop_connections(self) -> None:
        """Close all connections, as a restarting server does."""
        for writer in list(self._writers):
            self._loop.call_soon_threadsafe(writer.close)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024, ssl=self.tls)
        host, port = server.sockets[0].getsockname()
        self.url = f"{'http' if self.tls is None else 'https'}://{host}:{port}"
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # The client is gone, or the test is over.
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; return False to close the connection."""
        method, path, headers, body = await _read_request(reader)
        self.requests.append((method, path, len(body)))
        if "api-key" in headers:
            self.api_keys.add(headers["api-key"])
        fault = self.faults.popleft() if self.faults else self.always
        if delay_s := fault.delay_s + self.delay_s:
            await asyncio.sleep(delay_s)
        status, answer = fault.status or 200, _ORDERED
        if fault.after_effect or (fault.status is None and fault.cut is None):
            status, answer = self._answer(method, path, body)
        if fault.cut is not None:
            _cut(writer, fault)
            return False
        keep = headers.get("connection") != "close"
        writer.write(_response(status, json.dumps(answer).encode(), keep=keep, retry_after=fault.retry_after))
        await writer.drain()
        return keep

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, Json]:
        try:
            if len(body) > _MAX_BODY_BYTES:
                raise Refused(413, "Payload Too Large")  # noqa: TRY301 - handled as the engine's refusals
            result = self.engine.answer(method, path, json.loads(body or b"{}"))
        except Refused as refused:
            return refused.status, {"status": {"error": str(refused)}, "time": 0.0}
        return 200, {"result": result, "status": "ok", "time": 0.0}


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def _response(status: int, body: bytes, *, keep: bool, retry_after: str | None) -> bytes:
    lines = [f"HTTP/1.1 {status} Stub", "content-type: application/json", f"content-length: {len(body)}"]
    if retry_after is not None:
        lines.append(f"retry-after: {retry_after}")
    if not keep:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _cut(writer: asyncio.StreamWriter, fault: Fault) -> None:
    assert fault.cut is not None
    writer.write(_response(200, b" " * 10_000, keep=True, retry_after=None)[: fault.cut])
    if fault.reset:
        writer.transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--canned", action="store_true")
    arguments = parser.parse_args()
    with QdrantStub(arguments.delay, canned=arguments.canned) as stub, contextlib.suppress(KeyboardInterrupt):
        print(stub.url, flush=True)  # noqa: T201 - the parent process reads it
        sys.stdin.read()


if __name__ == "__main__":
    main()
