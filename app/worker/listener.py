"""Listen for new jobs on PostgreSQL: ``LISTEN`` on a separate connection in the event loop."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine

from app.errors import AgentStorageError
from app.executor import Lane
from app.retry import RetryPolicy
from app.sql.postgres import FIXED_OPTIONS, POSTGRES_OPTIONS

if TYPE_CHECKING:
    import psycopg  # slow to import, and not needed for SQLite

logger = logging.getLogger(__name__)

_RECONNECTING = RetryPolicy(total_s=1.0, first_delay_s=0.5, max_delay_s=5.0)


class Listener:
    """Calls ``heard`` whenever another process has committed a job.

    The connection is opened on a thread of ``lane``. From then on the event loop reads it when it
    has data, which needs no thread. It is one connection more than the pool's.
    """

    def __init__(self, engine: Engine, lane: Lane, channel: str, heard: Callable[[], object]) -> None:
        self._engine = engine
        self._lane = lane
        self._channel = channel
        self._heard = heard

    async def run(self) -> None:
        """Listen until cancelled; reopen a lost connection after a pause. Polling goes on."""
        failures = 0
        while True:
            try:
                connection = await self._connect()
            except AgentStorageError as error:
                logger.debug("can't listen for jobs: %s", error)
                failures += 1
            except Exception as error:  # noqa: BLE001 - the driver may raise anything; polling goes on
                logger.debug("can't listen for jobs: %s", type(error).__name__)
                failures += 1
            else:
                failures = 1
                self._heard()  # jobs may have been committed before it listened
                await self._watch(connection)
            await asyncio.sleep(_RECONNECTING.pause_s(failures))

    async def _connect(self) -> "psycopg.Connection[Any]":
        """Open a connection that listens. If this is cancelled, the connection is closed."""
        opened: list[psycopg.Connection[Any]] = []
        left = threading.Event()
        try:
            return await self._lane.run(self._open, opened, left)
        except BaseException:
            left.set()
            for connection in opened:
                connection.close()
            raise

    def _open(
        self, opened: "list[psycopg.Connection[Any]]", left: threading.Event
    ) -> "psycopg.Connection[Any]":
        import psycopg  # noqa: PLC0415 - slow to import, and not needed for SQLite

        arguments, options = self._engine.dialect.create_connect_args(self._engine.url)
        connection = psycopg.connect(
            *arguments, **{**POSTGRES_OPTIONS, **options, **FIXED_OPTIONS, "autocommit": True}
        )
        opened.append(connection)
        try:
            connection.execute(f'LISTEN "{self._channel}"')
        finally:
            # Checked after `opened` is filled; the canceller uses them in the opposite order.
            if left.is_set():
                connection.close()
        return connection

    async def _watch(self, connection: "psycopg.Connection[Any]") -> None:
        """Read notifications, and return when the connection is lost."""
        loop, lost = asyncio.get_running_loop(), asyncio.Event()
        socket = connection.fileno()

        def read() -> None:
            try:
                connection.pgconn.consume_input()
                told = False
                while connection.pgconn.notifies() is not None:
                    told = True
            except Exception:  # noqa: BLE001 - any error means that the connection is gone
                loop.remove_reader(socket)
                lost.set()
            else:
                if told:
                    self._heard()

        loop.add_reader(socket, read)
        try:
            await lost.wait()
        finally:
            loop.remove_reader(socket)
            connection.close()
