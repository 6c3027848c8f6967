"""The connections of an HTTP server: how many there may be, how long each may keep it waiting, and which one goes first.

All of this holds before a key is seen, so none of it may cost much.
"""

import logging
import resource
from dataclasses import dataclass
from typing import Protocol

from app.logs import Tally

logger = logging.getLogger(__name__)

_LEAST = 16


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be.

    ``max_header_lines`` bounds what 64 KiB of the shortest lines would take in objects, trailers
    included. ``head_s`` is from a request's first byte to the end of its head. ``idle_s`` is
    without a first request, and ``keep_alive_s`` without a further one. ``unread_s`` is how long a
    client may take nothing of an answer, and send the rest of a body that was answered already.
    ``linger_s`` is how long a refused client may go on sending: a connection that is closed over
    unread bytes is reset, and the client loses the answer.
    """

    max_url_bytes: int = 16 * 2**10
    max_head_bytes: int = 64 * 2**10
    max_header_lines: int = 256
    head_s: float = 10.0
    idle_s: float = 5.0
    keep_alive_s: float = 75.0
    unread_s: float = 30.0
    linger_s: float = 5.0
    max_connections: int = 1_000

    def within(self, files: int) -> int:
        """How many connections leave half of so many open files to the stores and to what is just being accepted."""
        return max(_LEAST, min(self.max_connections, files // 2))


class Connection(Protocol):
    """A connection as its server sees it."""

    def look(self, now: float) -> None:
        """End what takes too long; called again and again."""

    def drop(self) -> None:
        """Close at once."""


class Connections:
    """All open connections, and which of them wait for their clients, the longest first."""

    def __init__(self, limits: ConnectionLimits, tally: Tally | None = None) -> None:
        self.limits = limits
        self.tally = tally or Tally(logger)
        self._most = limits.within(_open_files())
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}

    def admit(self, connection: Connection, client: str | None) -> bool:
        """Take a new connection; False if there is no room.

        Past the bound it takes the place of the connection that has waited longest for its client.
        So neither idle connections nor half-sent requests keep others out; only requests at work
        can.
        """
        if len(self._open) >= self._most:
            longest = next(iter(self._waiting), None)
            if longest is None:
                self.tally.note(f"refused a connection: {self._most:,} are at work", client)
                return False
            self.forget(longest)
            longest.drop()
            self.tally.note(f"closed the longest waiting of {self._most:,} connections for a new one", client)
        self._open.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """From now on it is the client's turn."""
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def works(self, connection: Connection) -> None:
        """From now on it is the service's turn."""
        self._waiting.pop(connection, None)

    def look(self, now: float) -> None:
        """End what takes too long. ``now`` is of the event loop's clock."""
        for connection in tuple(self._open):
            connection.look(now)
        self.tally.look()


def _open_files() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if files == resource.RLIM_INFINITY else files
