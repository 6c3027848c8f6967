"""Limits on an HTTP server's connections: how many, which timeouts, and which is dropped first.

They apply before a client has authenticated, so they must be cheap to check.
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
    """The limits of one connection, and the maximum number of connections.

    ``max_header_lines`` includes trailers, and bounds the memory for the objects of many short
    lines within 64 KiB. ``head_s`` is the time from a request's first byte to the end of its head.
    ``idle_s`` is the wait for a first request, and ``keep_alive_s`` for a further one. ``unread_s``
    is how long a client may read nothing of an answer, or take to send the rest of a body after
    the answer. ``linger_s`` is how long a refused client may keep sending: closing a connection
    with unread bytes resets it, and the client would lose the answer.
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
        """The maximum number of connections for a limit of ``files`` open files.

        Half of the files are left to the stores and to connections that are being accepted.
        """
        return max(_LEAST, min(self.max_connections, files // 2))


class Connection(Protocol):
    """A connection as its server sees it."""

    def look(self, now: float) -> None:
        """Enforce the timeouts; called periodically."""

    def drop(self) -> None:
        """Close at once."""


class Connections:
    """All open connections, and those that wait for their clients, the longest waiting first."""

    def __init__(self, limits: ConnectionLimits, tally: Tally | None = None) -> None:
        self.limits = limits
        self.tally = tally or Tally(logger)
        self._most = limits.within(_open_files())
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}

    def admit(self, connection: Connection, client: str | None) -> bool:
        """Register a new connection; False if there is no room.

        At the limit, the connection that has waited longest for its client is dropped. So idle
        connections and half-sent requests can't keep others out; only running requests can.
        """
        if len(self._open) >= self._most:
            longest = next(iter(self._waiting), None)
            if longest is None:
                self.tally.note(f"refused a connection: all {self._most:,} are busy", client)
                return False
            self.forget(longest)
            longest.drop()
            self.tally.note(f"closed the longest waiting of {self._most:,} connections for a new one", client)
        self._open.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """Remove a connection that is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """Note that the connection waits for its client."""
        if connection in self._open:
            self._waiting.pop(connection, None)
            self._waiting[connection] = None

    def works(self, connection: Connection) -> None:
        """Note that the service works on a request of the connection."""
        self._waiting.pop(connection, None)

    def look(self, now: float) -> None:
        """Enforce all timeouts. ``now`` is the event loop's time."""
        for connection in tuple(self._open):
            connection.look(now)
        self.tally.look()


def _open_files() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if files == resource.RLIM_INFINITY else files
