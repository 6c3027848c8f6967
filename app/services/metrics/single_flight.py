"""One call for all who ask at the same time, and its result for a while after."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from app.errors import DeadlineExceeded

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Makes a value when it is asked for, never twice at once, and hands it out for a while.

    A value stands for ``least_s``, and for ``times`` as long as making it took: so making it takes
    at most one part in ``times + 1`` of the time, however often it is asked for. A failure isn't
    kept. For one event loop; another may follow it, when the first has ended.
    """

    def __init__(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        what: str,
        *,
        least_s: float = 1.0,
        times: float = 10.0,
    ) -> None:
        """``what`` is what is being made, for the error of somebody out of patience."""
        self._make = make
        self._what = what
        self._least_s = least_s
        self._times = times
        self._made: asyncio.Task[T] | None = None
        self._until = 0.0

    async def get(self, *, patience_s: float | None = None) -> T:
        """The value. Whoever leaves, cancelled or out of patience, leaves the making of it to go on.

        Raises:
            DeadlineExceeded: it took more than ``patience_s``; who asks again joins the same call.
            Exception: whatever making it raised.
        """
        made = self._current(asyncio.get_running_loop())
        if not made.done():  # one that is may belong to a loop that has ended
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
    """Look at an outcome that nobody may be waiting for any more, so that asyncio doesn't log it as lost."""
    if not task.cancelled():
        task.exception()
