"""Waits for a service's stores while it starts, and logs what it is waiting for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from app.errors import (
    AgentStorageError,
    DatabaseError,
    IndexRebuilding,
    NotStarted,
    QdrantError,
    QdrantUnavailable,
)
from app.retry import RetryPolicy
from app.services.storage.qdrant.ports import ClientFailure
from app.sql import schema
from containers import Container

logger = logging.getLogger(__name__)

_BACKOFF = RetryPolicy(total_s=1.0, first_delay_s=0.5, max_delay_s=5.0)


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a service waits for, and what to do if it doesn't become available."""

    name: str
    way_out: str


DATABASE = Dependency("the database", "Start it, or correct database.url.")
QDRANT = Dependency("Qdrant", "Start it, or correct qdrant.url.")
INDEX = Dependency("the index", "Run `agent-storage doctor`, which checks every part.")


class Startup:
    """Waits for a service's stores, ``timeout_s`` at most for all of them together."""

    def __init__(self, container: Container, timeout_s: float, stopping: asyncio.Event) -> None:
        """Waiting ends at once when ``stopping`` is set."""
        self._container = container
        self._timeout_s = timeout_s
        self._stopping = stopping
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._looked = asyncio.Event()

    async def first_look(self, most_s: float = 1.0) -> None:
        """Wait until the database has been tried once, ``most_s`` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._looked.wait()

    async def database(self) -> bool:
        """Wait for the database and check its schema; False if the service stops before that.

        Raises:
            SchemaMismatch: the schema is of another version.
            NotStarted: the database wasn't available in time.
        """
        engine, lane = self._container.engine(), self._container.database_lane()
        try:
            return await self._until_done(DATABASE, lambda: lane.run(schema.check, engine))
        finally:
            self._looked.set()

    async def index(self) -> bool:
        """Wait for Qdrant and open the index; False if the service stops before that.

        Raises:
            NotStarted: Qdrant or the database wasn't available in time.
            AgentStorageError: the index can't be used with this configuration.
        """
        return await self._until_done(QDRANT, self._ping_qdrant) and await self._until_done(
            INDEX, self._prepare_index
        )

    async def _prepare_index(self) -> None:
        """Open the index; don't wait for a running rebuild.

        A rebuild can take hours, and only searches by meaning and index jobs have to wait for it.
        """
        try:
            await self._container.indexing().prepare()
        except IndexRebuilding as error:
            logger.warning("%s Until then searches by meaning are refused and index jobs wait.", error)

    async def _ping_qdrant(self) -> None:
        """Ping Qdrant once; the repository's own ping retries silently until its timeout."""
        operation = "answer a ping"
        try:
            await self._container.qdrant_lane().run(self._container.qdrant_client().ping)
        except ClientFailure as failure:
            made = QdrantUnavailable if failure.transient else QdrantError
            collection = self._container.qdrant_repository().collection
            raise made(operation, collection, failure.reason) from failure

    async def _until_done(self, part: Dependency, attempt: Callable[[], Awaitable[None]]) -> bool:
        tries, told, loop = 0, "no answer yet", asyncio.get_running_loop()
        while not self._stopping.is_set():
            task = asyncio.ensure_future(attempt())
            await self._pause(self._deadline - loop.time(), task)
            if task.done():
                if (error := task.exception()) is None:
                    return True
                if not isinstance(error, AgentStorageError) or not error.retryable:
                    raise error
                part, told = _to_blame(error, part), str(error)
            else:
                task.cancel()
                await asyncio.wait((task,))
            if (left_s := self._deadline - loop.time()) <= 0:
                raise NotStarted(part.name, self._timeout_s, told, part.way_out)
            self._looked.set()
            if not self._stopping.is_set():
                tries += 1
                logger.warning("waiting for %s, for another %.0f s at most: %s", part.name, left_s, told)
                await self._pause(min(left_s, _BACKOFF.pause_s(tries)))
        return False

    async def _pause(self, most_s: float, task: "asyncio.Future[None] | None" = None) -> None:
        """Wait until ``task`` is done, the service stops, or the time is up."""
        stop = asyncio.ensure_future(self._stopping.wait())
        awaited: set[asyncio.Future[Any]] = {stop} if task is None else {stop, task}
        await asyncio.wait(awaited, timeout=max(0.0, most_s), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        with suppress(asyncio.CancelledError):
            await stop


def _to_blame(error: AgentStorageError, part: Dependency) -> Dependency:
    if isinstance(error, DatabaseError):
        return DATABASE
    return QDRANT if isinstance(error, QdrantError) else part
