"""Cancels a caller at a chosen await, in the caller itself or in a task that it started."""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Literal

Moment = Literal["as it begins to wait", "as its answer comes"]
Work = Coroutine[Any, Any, Any] | Generator[Any, None, Any]


class _Leaving:
    """Cancels the ``caller`` at the ``nth`` suspension, counted over the caller and its tasks."""

    def __init__(self, caller: "asyncio.Task[Any]", nth: int, moment: Moment) -> None:
        self._caller = caller
        self._nth = nth
        self._moment = moment
        self.count = 0

    def suspended(self, awaited: "asyncio.Future[Any] | None") -> None:
        """Count a suspension, on a future or (None) only for the event loop to run."""
        self.count += 1
        if self.count != self._nth:
            return
        if awaited is None or self._moment == "as it begins to wait":
            self._caller.cancel()
        else:
            awaited.add_done_callback(lambda _: self._caller.cancel())


_LEAVING: ContextVar[_Leaving | None] = ContextVar("leaving", default=None)


class _Watched:
    """Awaits a coroutine step by step, as a task does."""

    def __init__(self, work: Work, leaving: _Leaving) -> None:
        self._work = work
        self._leaving = leaving

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            try:
                awaited = self._work.send(None) if error is None else self._work.throw(error)
            except StopIteration as finished:
                return finished.value
            self._leaving.suspended(awaited)
            error = None
            try:
                yield awaited
            except BaseException as raised:  # noqa: BLE001 - thrown into the coroutine
                error = raised


async def _watch(work: Work, leaving: _Leaving) -> Any:
    return await _Watched(work, leaving)


def _make_task(loop: asyncio.AbstractEventLoop, work: Work, **options: Any) -> "asyncio.Task[Any]":
    """A task factory that also watches the tasks started by a watched caller."""
    leaving = _LEAVING.get()
    if leaving is None:
        return asyncio.Task(work, loop=loop, **options)
    task = asyncio.Task(_watch(work, leaving), loop=loop, **options)
    # A task that is cancelled before its first step never awaits the coroutine, and Python would
    # warn.
    task.add_done_callback(lambda _: work.close())
    return task


async def left(work: Coroutine[Any, Any, object], nth: int, moment: Moment) -> bool:
    """Run ``work`` and cancel its caller at the ``nth`` suspension; False if there were fewer."""
    loop = asyncio.get_running_loop()
    seen = list[_Leaving]()

    async def call() -> None:
        caller = asyncio.current_task()
        assert caller is not None
        seen.append(_Leaving(caller, nth, moment))
        _LEAVING.set(seen[0])
        await _Watched(work, seen[0])

    loop.set_task_factory(_make_task)
    try:
        [outcome] = await asyncio.gather(asyncio.create_task(call()), return_exceptions=True)
    finally:
        loop.set_task_factory(None)
    if outcome is not None and not isinstance(outcome, asyncio.CancelledError):
        raise outcome
    return seen[0].count >= nth
