"""Wake the workers of this process as soon as there is a job to claim."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Wakeup:
    """A signal that a job was committed: set from any thread, seen by all listening workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def set(self) -> None:
        """Wake all listeners."""
        with self._lock:
            listening = list(self._listening.items())
        for event, loop in listening:
            with suppress(RuntimeError):  # its event loop was closed meanwhile
                loop.call_soon_threadsafe(event.set)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event on the running loop that :meth:`set` sets; the waiter clears it."""
        event = asyncio.Event()
        with self._lock:
            self._listening[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            with self._lock:
                del self._listening[event]
