"""What all streams share, of server-sent events and of exports: how many there may be, and how they end."""

from collections import Counter
from collections.abc import AsyncIterator, Callable

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.middleware import ENDLESS
from app.api.problems import Refused

MAX_STREAMS = 100
"""How many streams there may be at once."""

MAX_STREAMS_A_CALLER = 20
"""How many of them one caller may hold."""

SIGN_OF_LIFE_S = 15.0
SIGN_OF_LIFE = b": still there\n\n"


class StreamPlaces:
    """The places for streams, of whatever kind, on the event loop of an application."""

    def __init__(self) -> None:
        self._held = Counter[str]()

    @property
    def taken(self) -> int:
        """How many streams there are."""
        return self._held.total()

    def take(self, caller: str) -> None:
        """Take a place, until :meth:`release`.

        Raises:
            Refused: there are too many streams, or too many of this caller.
        """
        if self.taken >= MAX_STREAMS:
            raise _too_many(f"{MAX_STREAMS} streams are open already")
        if self._held[caller] >= MAX_STREAMS_A_CALLER:
            raise _too_many(f"you hold {MAX_STREAMS_A_CALLER} streams already; close one")
        self._held[caller] += 1

    def release(self, caller: str) -> None:
        """Give a place back."""
        self._held[caller] -= 1
        self._held += Counter()  # drops those who hold none


class EventStream(StreamingResponse):
    """Events, with ``close`` called when the client has gone."""

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        self._close = close
        # nginx would hold events back until its buffer is full.
        super().__init__(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See :class:`StreamingResponse`."""
        scope.setdefault("state", {})[ENDLESS] = True
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


def _too_many(reason: str) -> Refused:
    return Refused(503, "saturated", reason, headers={"retry-after": "5"})
