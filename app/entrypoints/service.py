"""Runs the API and worker services: the container, workers, HTTP and a graceful shutdown."""

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from app.entrypoints.connections import ConnectionLimits, Connections
from app.entrypoints.http_protocol import BoundedProtocol
from app.entrypoints.signals import on_stop_signal
from app.entrypoints.startup import Startup
from app.errors import AddressInUse
from app.executor import GIVEN_UP_TIMEOUT_S
from app.logs import Tally
from app.settings.places import described_stores
from app.worker.worker import Worker
from containers import Container, running

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)

_STARTING_RETRY_S = 2
"""The Retry-After of refusals while a service starts."""

_BACKLOG = 2048
"""How many connections the kernel queues until they are accepted."""

_SEND_BUFFER_BYTES = 128 * 2**10
"""The socket's send buffer, which holds what a client hasn't read.

Linux's default grows to 4 MiB, and reports progress only once a third of it is free. A slow client
would look like one that reads nothing.
"""

_EVERYWHERE = {"::", "::0", "0:0:0:0:0:0:0:0"}

_ACCEPTED_AT_ONCE = 32
"""How many connections asyncio accepts before it handles one.

Each takes a file descriptor before it can be counted.
"""


class HttpServer(uvicorn.Server):
    """Serves ``app`` on a bound socket, within ``limits``; the service handles the signals."""

    def __init__(
        self,
        app: "ASGIApp",
        listening: socket.socket,
        *,
        shutdown_s: float,
        on_stop: Callable[[], object],
        limits: ConnectionLimits | None = None,
    ) -> None:
        """``on_stop`` ends answers that have no end of their own, such as event streams."""
        self._connections = Connections(limits or ConnectionLimits())
        super().__init__(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, self._connections)),
                backlog=_ACCEPTED_AT_ONCE,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, int(shutdown_s)),
            )
        )
        self._app = app
        self._admitting = True
        self._listening = listening
        self._on_stop = on_stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A no-op: the service handles signals, and stops the server with its other parts."""
        yield

    def keep_out(self) -> None:
        """Until :meth:`admit`, answer only liveness probes, and refuse other requests with 503."""
        self._admitting = False

    def admit(self) -> None:
        """Answer every request."""
        self._admitting = True

    def stop(self) -> None:
        """Accept no more connections; accepted requests are answered."""
        self.should_exit = True
        self._on_stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, with a longer backlog than asyncio is given.

        asyncio also uses its backlog as the number of connections to accept at once.
        """
        await super().startup(sockets)
        self._listening.listen(_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down as uvicorn does, and then abort what is still open, such as new connections."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # let the transports close

    async def on_tick(self, counter: int) -> bool:
        """Check timeouts ten times a second, which costs less than a timer for each request."""
        self._connections.look(asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def run_until_stopped(self) -> None:
        """Serve until :meth:`stop`."""
        host, port = self._listening.getsockname()[:2]
        logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        await self.serve(sockets=[self._listening])

    async def _answer(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if self._admitting or scope["path"] == "/health/live":
            await self._app(scope, receive, send)
        else:
            await _starting()(scope, receive, send)


def _starting() -> "ASGIApp":
    from app.api.problems import problem

    return problem(
        503,
        "starting",
        "Starting",
        "The service is waiting for its database.",
        headers={"retry-after": str(_STARTING_RETRY_S)},
    )


@contextmanager
def open_service(container: Container) -> Iterator[None]:
    """Open a service's container; closing it doesn't wait for calls that were given up."""
    container.config.executor.shutdown_timeout.from_value(GIVEN_UP_TIMEOUT_S)
    settings = container.settings()
    logger.info("the stores are %s", described_stores(settings.database.url, settings.qdrant))
    with running(container, check=False):
        # Keep long-lived start-up objects out of collection; a full collection pauses all threads.
        gc.collect()
        gc.freeze()
        yield


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; on ``::`` it accepts IPv4, too.

    Raises:
        AddressInUse: another process listens there, or this machine doesn't have the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host in _EVERYWHERE and socket.has_dualstack_ipv6()
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise AddressInUse(host, port, error.strerror or str(error)) from error
    # Accepted connections inherit TCP_NODELAY. asyncio sets it only on sockets with an explicit
    # protocol number, which this one lacks. Without it each answer's body waits 40 ms for the
    # client to acknowledge the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    return listening


def run_to_the_end(service: Coroutine[Any, Any, None]) -> None:
    """Run a service on a new event loop.

    At the end, tasks that ignore cancellation get half a second. ``asyncio.run`` would wait for
    them without a timeout.
    """
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(quieted(Tally(logger)))
    try:
        loop.run_until_complete(service)
    finally:
        loop.run_until_complete(_end_tasks())
        loop.close()


def quieted(tally: Tally) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """An exception handler for event loops that rate-limits the log of failed accepts.

    asyncio would log one after the other while no file can be opened.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if str(context.get("message", "")).startswith("socket.accept() out of system resource"):
            tally.note("can't accept connections: this process has no open file left (see `ulimit -n`)", None)
        else:
            loop.default_exception_handler(context)

    return handle


async def _end_tasks() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        _, stuck = await asyncio.wait(left, timeout=GIVEN_UP_TIMEOUT_S)
        for task in stuck:
            logger.warning("task didn't end in time: %s", task.get_coro())


async def run_service(container: Container, *, workers: int, server: HttpServer | None) -> None:
    """Run workers, HTTP or both until a signal, and stop them within ``worker.shutdown_timeout``.

    The stores may become available later, within ``worker.startup_timeout``. Until the database is
    available, HTTP answers only liveness probes.

    Raises:
        NotStarted: a store wasn't available in time.
        AgentStorageError: a part can't work with this configuration.
    """
    stopping = asyncio.Event()
    on_stop_signal(stopping.set)
    team = [container.worker() for _ in range(workers)]
    logger.info(
        "%s, with %d jobs at once each",
        "1 worker" if workers == 1 else f"{workers} workers",
        container.worker_settings().concurrency,
    )
    startup = Startup(container, container.worker_settings().startup_timeout, stopping)
    tasks = [asyncio.create_task(_work(team, stopping, startup, server))]
    if server is not None:
        server.keep_out()
        tasks.append(asyncio.create_task(_serve(server, startup)))
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    for worker in team:
        worker.stop()
    if server is not None:
        server.stop()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _serve(server: HttpServer, startup: Startup) -> None:
    await startup.first_look()  # if the database is available, no request is refused
    if not server.should_exit:
        await server.run_until_stopped()


async def _work(
    team: Sequence[Worker], stopping: asyncio.Event, startup: Startup, server: HttpServer | None
) -> None:
    """Wait for the stores, and then run the workers."""
    if not await startup.database():
        return
    if server is not None:
        server.admit()
    if await startup.index() and team:
        if left := await team[0].recover():
            logger.info("%d jobs left by dead processes will be run again", left)
        await asyncio.gather(*(worker.run() for worker in team))
    else:
        await stopping.wait()
