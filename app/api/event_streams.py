"""Streams of server-sent events, and the limits that they share with streamed exports."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.api.problems import Refused

ENDLESS = "agent_storage.endless"
"""The key in the state of a request whose answer only ends when its client disconnects."""

MAX_STREAMS = 100
"""The maximum of simultaneous streams."""

MAX_STREAMS_A_CALLER = 20
"""The maximum of one caller's simultaneous streams."""

SIGN_OF_LIFE_S = 15.0
SIGN_OF_LIFE = b": still there\n\n"
_MEDIA_TYPE = "text/event-stream"


async def happens_within(event: asyncio.Event, duration_s: float) -> bool:
    """Wait for an event; False if it didn't happen in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(duration_s):
            return await event.wait()
    return False


def wants_events(headers: Headers) -> bool:
    """Whether the client accepts an event stream, on a route that also has pages."""
    ranges = ",".join(headers.getlist("accept")).split(",")
    return any(each.partition(";")[0].strip().lower() == _MEDIA_TYPE for each in ranges)


class StreamPlaces:
    """Limits the open streams of all kinds; for the application's event loop only."""

    def __init__(self) -> None:
        self._held = Counter[str]()

    @property
    def taken(self) -> int:
        """The number of open streams."""
        return self._held.total()

    def take(self, caller: str) -> None:
        """Take a place, until :meth:`release`.

        Raises:
            Refused: there are too many streams, or too many of this caller's.
        """
        if self.taken >= MAX_STREAMS:
            raise _too_many(f"{MAX_STREAMS} streams are open already")
        if self._held[caller] >= MAX_STREAMS_A_CALLER:
            raise _too_many(f"you have {MAX_STREAMS_A_CALLER} open streams already; close one")
        self._held[caller] += 1

    def release(self, caller: str) -> None:
        """Give a place back."""
        self._held[caller] -= 1
        self._held += Counter()  # drops callers without streams


class EventStream(StreamingResponse):
    """A stream of events that calls ``close`` when it ends or the client disconnects."""

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        self._close = close
        # Without this header, nginx holds events back until its buffer is full.
        super().__init__(events, media_type=_MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See :class:`StreamingResponse`."""
        scope.setdefault("state", {})[ENDLESS] = True
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


def _too_many(reason: str) -> Refused:
    return Refused(503, "saturated", reason, headers={"retry-after": "5"})
