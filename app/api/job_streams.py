"""Event streams that follow jobs, with one database poll for all of them."""

import asyncio
from collections.abc import AsyncIterator

from app.api.event_streams import SIGN_OF_LIFE_S, StreamPlaces, happens_within
from app.api.parts import ApiParts
from app.domain.jobs import JobRow, has_ended
from app.errors import AgentStorageError

_LOOK_S = 0.5


class Following:
    """A job that a caller follows. ``row`` is the job as of the last poll."""

    def __init__(self, row: JobRow, caller: str) -> None:
        self.row = row
        self.caller = caller
        self._news = asyncio.Event()
        self._over = False
        self._fault: Exception | None = None

    async def changes(self) -> AsyncIterator[JobRow | None]:
        """Yield the job, and again after each change until it has ended; None as keep-alive.

        If changes come faster than they are consumed, only the last is yielded.

        Raises:
            Exception: polling the job failed.
        """
        told = self.row
        yield told
        while not has_ended(told):
            self._news.clear()
            if self._fault is not None:
                raise self._fault
            if self.row != told:
                told = self.row
                yield told
            elif self._over:
                return
            elif not await happens_within(self._news, SIGN_OF_LIFE_S):
                yield None

    def see(self, row: JobRow | None) -> None:
        """Record the polled job; None if it ended and was pruned."""
        if row is None:
            self.end()
        elif row != self.row:
            self.row = row
            self._news.set()

    def end(self, fault: Exception | None = None) -> None:
        """End the stream, or make it raise a fault."""
        self._over, self._fault = True, fault
        self._news.set()


class JobStreams:
    """The event streams that follow jobs, on the event loop. One task polls for all of them."""

    def __init__(self, parts: ApiParts, stopping: asyncio.Event, places: StreamPlaces) -> None:
        """Create it without streams; all streams end when ``stopping`` is set."""
        self._parts = parts
        self._stopping = stopping
        self._places = places
        self._followings: set[Following] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def open_streams(self) -> int:
        """The number of open streams of all kinds."""
        return self._places.taken

    def open(self, row: JobRow, caller: str) -> Following:
        """Follow a job, until :meth:`close`.

        Raises:
            Refused: there are too many streams, or too many of this caller's.
        """
        self._places.take(caller)
        following = Following(row, caller)
        self._followings.add(following)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return following

    def close(self, following: Following) -> None:
        """Stop following a job."""
        self._followings.discard(following)
        self._places.release(following.caller)

    async def _look(self) -> None:
        while self._followings:
            if await happens_within(self._stopping, _LOOK_S):
                self._end_all(None)
                return
            try:
                await self._look_once()
            except AgentStorageError as error:
                if not error.retryable:
                    self._end_all(error)
            except Exception as error:  # noqa: BLE001 - each stream raises it
                self._end_all(error)

    async def _look_once(self) -> None:
        followings = list(self._followings)  # one opened meanwhile has a row as new as this poll's
        rows = await self._parts.jobs().get_rows({following.row.id for following in followings})
        found = {row.id: row for row in rows}
        for following in followings:
            following.see(found.get(following.row.id))

    def _end_all(self, fault: Exception | None) -> None:
        for following in self._followings:
            following.end(fault)
