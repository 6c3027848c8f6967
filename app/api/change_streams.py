"""The feed of a project's changes: its cursors, and streams of events that follow it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import zip_longest

from app.api.answers import as_json, no_cursor, read_cursor, write_cursor
from app.api.event_streams import SIGN_OF_LIFE, SIGN_OF_LIFE_S, EventStream, StreamPlaces
from app.api.parts import ApiParts
from app.api.schemas import change_of
from app.domain.changes import Change, FeedPage, FeedPlace
from app.errors import AgentStorageError, HistoryPruned, InvalidField, NotFound

_LOOK_S = 1.0
_AT_ONCE = 200
_MOST = 2**63


class ChangeStreams:
    """All streams that follow a feed, on the event loop. Each looks at the database now and then."""

    def __init__(self, parts: ApiParts, stopping: asyncio.Event, places: StreamPlaces) -> None:
        """All streams end when ``stopping`` is set."""
        self._parts = parts
        self._stopping = stopping
        self._places = places

    async def open(self, project: str, after: FeedPlace | None, caller: str) -> EventStream:
        """Follow a project's feed after a place, until the client leaves.

        Raises:
            Refused: there are too many streams, or too many of this caller.
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
        """An event for each change, and a comment now and then, so that clients don't take the silence for an end."""
        # The request that goes on after the last event is told why.
        with suppress(NotFound, HistoryPruned, InvalidField):
            while not self._stopping.is_set():
                for place, change in _placed(start, page):
                    yield _event(place, change)
                start, page = page.place, await self._next(project, page)
                if not page.changes and not self._stopping.is_set():
                    yield SIGN_OF_LIFE

    async def _next(self, project: str, page: FeedPage) -> FeedPage:
        """The page after that one; an empty one when it is time for a sign of life, or the streams end.

        At the end the newest number alone is looked at, because the feed would read its last entry
        again, and that may be large.
        """
        changes = self._parts.changes()
        silent_s = 0.0
        waits = page.is_last
        while silent_s < SIGN_OF_LIFE_S:
            if waits and await self._stops_within(_LOOK_S):
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

    async def _stops_within(self, duration_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                return await self._stopping.wait()
        return False


def write_place(place: FeedPlace) -> str:
    """The cursor that names a place in a feed."""
    return write_cursor(*map(str, place))


def read_place(cursor: str, field: str) -> FeedPlace:
    """The place in a feed that a cursor names.

    Raises:
        InvalidField: this service didn't make it; ``field`` is where it stood.
    """
    try:
        place = FeedPlace(*map(int, read_cursor(cursor, len(FeedPlace._fields))))
        if not all(0 <= each < _MOST for each in place):
            raise no_cursor()
    except (InvalidField, ValueError):
        raise InvalidField(field, no_cursor().reason) from None
    return place


def _placed(start: FeedPlace, page: FeedPage) -> Iterator[tuple[FeedPlace, Change]]:
    """Each change with the place right after it; of an entry that is taken whole, nothing is needed any more."""
    place = start
    for change, following in zip_longest(page.changes, page.changes[1:]):
        if following is None:
            place = page.place
        elif following.number != change.number:
            place = FeedPlace(place.epoch, change.number + 1, 0)
        else:
            taken = place.taken if change.number == place.number else 0
            place = FeedPlace(place.epoch, change.number, taken + 1)
        yield place, change


def _event(place: FeedPlace, change: Change) -> bytes:
    return b"id: %b\nevent: change\ndata: %b\n\n" % (write_place(place).encode(), as_json(change_of(change)))
