"""A TCP proxy that can drop, block and restore its connections."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Self

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Forwards a port of the loopback to ``connect()``, in a separate thread."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self.port = 0
        self._connect = connect
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def go_away(self) -> None:
        """Reset every connection, and refuse new ones."""
        asyncio.run_coroutine_threadsafe(self._go_away(), self._loop).result(timeout=30)

    def hang(self) -> None:
        """Accept connections, but forward nothing."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def come_back(self) -> None:
        """Accept connections, on the same port as before, and forward everything."""
        asyncio.run_coroutine_threadsafe(self._come_back(), self._loop).result(timeout=30)

    async def _come_back(self) -> None:
        self._flowing.set()
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _go_away(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there_reader, there_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(there_writer)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            pipe = asyncio.create_task(self._pipe(source, target))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._flowing.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass  # it was reset
        finally:
            self._writers.discard(target)
            target.close()


def to_unix(path: str) -> Callable[[], Awaitable[Streams]]:
    """Connect to a Unix socket."""
    return lambda: asyncio.open_unix_connection(path)


def to_tcp(port: int) -> Callable[[], Awaitable[Streams]]:
    """Connect to a port of the loopback."""
    return lambda: asyncio.open_connection("127.0.0.1", port)
