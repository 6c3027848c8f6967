"""Event streams that follow the feed of a project's changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from app.api.answers import as_json
from app.api.event_streams import SIGN_OF_LIFE, SIGN_OF_LIFE_S, EventStream, StreamPlaces, happens_within
from app.api.parts import ApiParts
from app.domain.changes import Change, FeedPage, FeedPlace
from app.domain.cursors import write_place
from app.domain.documents import change_as_dict
from app.errors import AgentStorageError, HistoryPruned, InvalidField, NotFound

_LOOK_S = 1.0
_AT_ONCE = 200


class ChangeStreams:
    """The event streams that follow feeds, on the event loop. Each polls the database."""

    def __init__(self, parts: ApiParts, stopping: asyncio.Event, places: StreamPlaces) -> None:
        """Create it without streams; all streams end when ``stopping`` is set."""
        self._parts = parts
        self._stopping = stopping
        self._places = places

    async def open(self, project: str, after: FeedPlace | None, caller: str) -> EventStream:
        """Follow a project's feed after a place, until the client disconnects.

        Raises:
            Refused: there are too many streams, or too many of this caller's.
            NotFound, InvalidField, HistoryPruned: see :meth:`ChangeService.feed`.
        """
        self._places.take(caller)
        try:
            page = await self._parts.changes().feed(project, after=after, limit=_AT_ONCE)
        except BaseException:
            self._places.release(caller)
            raise
        start = after or FeedPlace(page.place.epoch, 0, 0)
        return EventStream(self._events(project, start, page), lambda: self._places.release(caller))

    async def _events(self, project: str, start: FeedPlace, page: FeedPage) -> AsyncIterator[bytes]:
        """Yield an event for each change, and comments as keep-alive while there are none."""
        # These errors only end the stream. The client reconnects after the last event, and the
        # answer to that request names the error.
        with suppress(NotFound, HistoryPruned, InvalidField):
            while not self._stopping.is_set():
                for place, change in page.placed(start):
                    yield _event(place, change)
                start, page = page.place, await self._next(project, page)
                if not page.changes and not self._stopping.is_set():
                    yield SIGN_OF_LIFE

    async def _next(self, project: str, page: FeedPage) -> FeedPage:
        """Return the page after ``page``, or an empty one for a keep-alive or at shutdown.

        At the end of the feed, poll only the newest number: reading the feed would load its last
        entry again, which may be large.
        """
        changes = self._parts.changes()
        silent_s = 0.0
        waits = page.is_last
        while silent_s < SIGN_OF_LIFE_S:
            if waits and await happens_within(self._stopping, _LOOK_S):
                break
            silent_s += _LOOK_S
            try:
                if not page.is_last or await changes.newest(project) >= page.place.number:
                    return await changes.feed(project, after=page.place, limit=_AT_ONCE)
            except AgentStorageError as error:
                if not error.retryable:
                    raise
                waits = True
        return FeedPage([], page.place, is_last=page.is_last)


def _event(place: FeedPlace, change: Change) -> bytes:
    return b"id: %b\nevent: change\ndata: %b\n\n" % (
        write_place(place).encode(),
        as_json(change_as_dict(change)),
    )
