"""Share one call among concurrent callers, and cache its result for a while."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from app.errors import DeadlineExceeded

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Makes a value on demand, never twice at the same time, and caches it.

    A value is cached for ``least_s``, or for ``times`` as long as making it took if that is longer.
    So making it takes at most one part in ``times + 1`` of the time. Failures aren't cached. For
    one event loop at a time; another may use it after the first has ended.
    """

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        what: str,
        *,
        least_s: float = 1.0,
        times: float = 10.0,
    ) -> None:
        """``what`` describes the call in the error of a caller whose patience ends."""
        self._make = make
        self._what = what
        self._least_s = least_s
        self._times = times
        self._made: asyncio.Task[T] | None = None
        self._until = 0.0

    async def get(self, *, patience_s: float | None = None) -> T:
        """The value. If a caller is cancelled or times out, the call goes on.

        Raises:
            DeadlineExceeded: it took longer than ``patience_s``; another ``get`` joins the same
                call.
            Exception: any error of making the value.
        """
        made = self._current(asyncio.get_running_loop())
        if not made.done():  # a finished task may belong to a loop that has ended, so don't wait for it
            await asyncio.wait((made,), timeout=patience_s)
        if not made.done():
            raise DeadlineExceeded(self._what, patience_s or 0.0)
        return made.result()

    def _current(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[T]":
        made = self._made
        if made is not None and not made.done() and made.get_loop() is loop:
            return made
        if made is not None and made.done() and time.monotonic() < self._until:
            return made
        self._made = made = loop.create_task(self._run())
        made.add_done_callback(_retrieve)
        return made

    async def _run(self) -> T:
        started = time.monotonic()
        value = await self._make()
        ended = time.monotonic()
        self._until = ended + max(self._least_s, self._times * (ended - started))
        return value


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception, so that asyncio doesn't log it as lost if no caller waits."""
    if not task.cancelled():
        task.exception()
