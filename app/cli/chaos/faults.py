"""The faults that chaos injects into the processes, one at a time."""

import asyncio
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial

from app.cli.chaos.books import Books
from app.cli.chaos.place import Member, Place
from app.errors import AgentStorageError

_PAUSES_S = (1.0, 4.0)
_LASTS_S = (1.0, 4.0)
_NO_ROOM_BYTES = 2**20
_LOCK_TIMEOUT_S = 30.0

Fault = Callable[[], Awaitable[None]]


class Faults:
    """Injects the faults that a place supports in random order, until :meth:`stop`."""

    def __init__(self, place: Place, books: Books, announce: Callable[[str], None]) -> None:
        """``announce`` is called with the name of each fault when it begins."""
        self._place = place
        self._books = books
        self._announce = announce
        self._stopped = asyncio.Event()
        self.not_tried: dict[str, str] = {}
        self._all = self._found()

    def stop(self) -> None:
        """Begin no more faults."""
        self._stopped.set()

    async def run(self) -> None:
        """Inject each fault once in a random order, and repeat, with pauses in between."""
        while not self._stopped.is_set():
            names = list(self._all)
            self._books.random.shuffle(names)
            for name in names:
                if await self._rested(self._between(_PAUSES_S)):
                    return
                self._announce(name)
                await self._all[name]()
                self._books.faults[name] += 1
                self._announce("all is well")

    def _found(self) -> dict[str, Fault]:
        found: dict[str, Fault] = {}
        for member in self._place.members:
            found[f"kill the {member.name}"] = partial(self._kill, member)
            found[f"stop the {member.name} for a while"] = partial(self._pause, member)
        found["end the service by SIGTERM"] = partial(self._kill, self._place.service, signal.SIGTERM)
        found["no room on the service's disk"] = self._no_room
        if self._place.database_file is not None:
            found["lock the database"] = self._lock
        else:
            self.not_tried["lock the database"] = "only SQLite's can be locked"
        if self._place.server is None:
            self.not_tried["kill the Qdrant server"] = "there is none; start one by --qdrant PROGRAM"
        return found

    async def _kill(self, member: Member, number: signal.Signals = signal.SIGKILL) -> None:
        await asyncio.to_thread(member.end, number)
        await asyncio.sleep(self._between((0.0, 1.5)))
        await asyncio.to_thread(member.start)

    async def _pause(self, member: Member) -> None:
        member.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._between(_LASTS_S))
        finally:
            member.send(signal.SIGCONT)

    async def _no_room(self) -> None:
        self._place.service.limit_files(_NO_ROOM_BYTES)
        try:
            await asyncio.sleep(self._between(_LASTS_S))
        finally:
            self._place.service.limit_files(None)

    async def _lock(self) -> None:
        try:
            await asyncio.to_thread(self._locked, self._between(_LASTS_S))
        except sqlite3.Error as error:
            raise AgentStorageError(f"the database couldn't be locked: {error}") from error

    def _locked(self, seconds: float) -> None:
        file = self._place.database_file
        with closing(sqlite3.connect(str(file), timeout=_LOCK_TIMEOUT_S, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    async def _rested(self, seconds: float) -> bool:
        """Wait; returns True if :meth:`stop` was called."""
        try:
            await asyncio.wait_for(self._stopped.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _between(self, bounds: tuple[float, float]) -> float:
        return self._books.random.uniform(*bounds)
