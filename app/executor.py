"""The process's only thread pool, shared through named lanes.

A *lane* is a share of the pool: at most ``limit`` of its calls run at once, and at most
``max_waiting`` wait for a slot. The limits of all lanes add up to no more than the pool's threads,
so a lane whose calls hang can't take threads from another lane.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from app.errors import AgentStorageError, DeadlineExceeded, Saturated, ShuttingDown

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GIVEN_UP_TIMEOUT_S = 0.5
"""How long a process that ends waits for calls that were given up and still run."""


@dataclass(frozen=True, slots=True)
class LaneStats:
    """A snapshot of a lane's counters; the counts and seconds since its creation never decrease."""

    name: str
    limit: int
    active: int
    waiting: int
    rejected: int
    finished: int
    wait_seconds: float
    run_seconds: float


@dataclass(eq=False, slots=True)
class _Ticket:
    """A caller that waits for a slot on its own event loop. The lane's lock guards ``granted``.

    The result of ``turn`` is None if the caller gets a slot, else the error that it raises. It is a
    result and not an exception, because asyncio logs exceptions that are never retrieved.
    """

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Future[AgentStorageError | None]
    granted: bool = False

    def wake(self, error: AgentStorageError | None = None) -> bool:
        """Wake the caller, with an error or without; return False if its event loop is closed."""
        try:
            self.loop.call_soon_threadsafe(self._settle, error)
        except RuntimeError:
            return False
        return True

    def _settle(self, error: AgentStorageError | None) -> None:
        if not self.turn.done():
            self.turn.set_result(error)


class Lane:
    """A named, bounded share of the pool, usable from any event loop.

    :meth:`BoundedExecutor.lane` creates it. Slots are granted in the order of the calls, across
    event loops.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, name: str, *, limit: int, max_waiting: int, wait_timeout_s: float
    ) -> None:
        self.name = name
        self.limit = limit
        self.max_waiting = max_waiting
        self.wait_timeout_s = wait_timeout_s
        self._pool = pool
        self._changed = threading.Condition()
        self._waiting: deque[_Ticket] = deque()
        self._active = 0
        self._rejected = 0
        self._finished = 0
        self._wait_seconds = 0.0
        self._run_seconds = 0.0
        self._closed = False

    async def run(
        self,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        timeout_s: float | None = None,
        exempt_from_max_waiting: bool = False,
    ) -> T:
        """Call ``fn(*args)`` on a pool thread in a copy of the caller's context; return its result.

        ``timeout_s`` includes the wait for a slot; with None, only the lane's ``wait_timeout_s``
        applies. A caller that is cancelled or times out returns at once; its call keeps the slot
        until the thread is free.

        ``exempt_from_max_waiting`` queues the call even if ``max_waiting`` callers wait. It is for
        calls that complete something irrevocable, such as reporting what was stored; their number
        must be bounded elsewhere.

        Raises:
            Saturated: ``max_waiting`` callers are waiting, or no slot became free within
                ``wait_timeout_s``.
            DeadlineExceeded: ``timeout_s`` has passed.
            ShuttingDown: the executor is closing.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        await self._take_slot(loop, timeout_s, exempt_from_max_waiting=exempt_from_max_waiting)
        call = self._submit(loop, partial(self._call, copy_context(), fn, *args))
        # `wait` doesn't cancel the call on a timeout. A call that is cancelled before its start
        # would never run, and never free its slot.
        await asyncio.wait((call,), timeout=None if timeout_s is None else asked + timeout_s - loop.time())
        if timeout_s is not None and not call.done():
            raise DeadlineExceeded(f"a call on the {self.name} lane", timeout_s)
        return call.result()

    async def ping(self) -> None:
        """Run a no-op call, to check that a thread becomes free.

        Raises:
            Saturated, ShuttingDown: as for :meth:`run`.
        """
        await self.run(_do_nothing)

    def stats(self) -> LaneStats:
        """Return a snapshot of the counters. Thread-safe."""
        with self._changed:
            return LaneStats(
                name=self.name,
                limit=self.limit,
                active=self._active,
                waiting=len(self._waiting),
                rejected=self._rejected,
                finished=self._finished,
                wait_seconds=self._wait_seconds,
                run_seconds=self._run_seconds,
            )

    def close(self) -> None:
        """Refuse new calls and fail waiting ones with :class:`ShuttingDown`; running ones go on."""
        with self._changed:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
        for ticket in dropped:
            ticket.wake(ShuttingDown(f"the {self.name} lane"))

    def wait_idle(self, timeout_s: float) -> bool:
        """Block this thread until no call runs, at most ``timeout_s``; return whether none does."""
        with self._changed:
            return self._changed.wait_for(lambda: self._active == 0, timeout=max(0.0, timeout_s))

    async def _take_slot(
        self, loop: asyncio.AbstractEventLoop, timeout_s: float | None, *, exempt_from_max_waiting: bool
    ) -> None:
        if timeout_s is not None and timeout_s <= 0:
            raise DeadlineExceeded(f"waiting for the {self.name} lane", timeout_s)
        with self._changed:
            if self._closed:
                raise ShuttingDown(f"the {self.name} lane")
            if self._active < self.limit:
                self._active += 1
                return
            # Which calls may be exempt: docs/decisions/lanes.md
            if len(self._waiting) >= self.max_waiting and not exempt_from_max_waiting:
                self._rejected += 1
                raise Saturated(self.name, len(self._waiting))
            ticket = _Ticket(loop, loop.create_future())
            self._waiting.append(ticket)
        await self._wait_turn(ticket, timeout_s)

    async def _wait_turn(self, ticket: _Ticket, timeout_s: float | None) -> None:
        asked = ticket.loop.time()
        patience_s = self.wait_timeout_s if timeout_s is None else min(timeout_s, self.wait_timeout_s)
        try:
            await asyncio.wait((ticket.turn,), timeout=patience_s)
        except BaseException:  # the caller was cancelled, or its event loop was closed
            self._leave_queue(ticket)
            raise
        finally:
            with self._changed:
                self._wait_seconds += ticket.loop.time() - asked
        if not ticket.turn.done():
            raise self._out_of_patience(ticket, timeout_s)
        if error := ticket.turn.result():
            raise error

    def _out_of_patience(self, ticket: _Ticket, timeout_s: float | None) -> AgentStorageError:
        waiting = self._leave_queue(ticket)
        if timeout_s is not None and timeout_s <= self.wait_timeout_s:
            return DeadlineExceeded(f"waiting for the {self.name} lane", timeout_s)
        with self._changed:
            self._rejected += 1
        return Saturated(self.name, waiting)

    def _leave_queue(self, ticket: _Ticket) -> int:
        """Leave the queue, passing on a slot granted meanwhile; return how many others wait."""
        with self._changed:
            if ticket.granted:
                self._free_slot()
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
            return len(self._waiting)

    def _submit(self, loop: asyncio.AbstractEventLoop, work: Callable[[], T]) -> asyncio.Future[T]:
        try:
            call = loop.run_in_executor(self._pool, work)
        except RuntimeError as error:
            if not self._closed:
                # The system can't start a thread. The work stays queued in the pool, with its slot.
                raise
            self._free_slot()
            raise ShuttingDown(f"the {self.name} lane") from error
        call.add_done_callback(_retrieve)
        return call

    def _call(self, context: Context, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run ``fn`` on this pool thread, then free the slot."""
        started = time.monotonic()
        try:
            return context.run(fn, *args)
        except StopIteration as error:
            # A future refuses StopIteration, and its awaiter would wait forever.
            raise RuntimeError("the call raised StopIteration") from error
        finally:
            with self._changed:
                self._finished += 1
                self._run_seconds += time.monotonic() - started
                self._free_slot()

    def _free_slot(self) -> None:
        """Pass the slot to the longest waiting caller whose event loop is open, or release it."""
        with self._changed:
            while self._waiting:
                ticket = self._waiting.popleft()
                ticket.granted = ticket.wake()
                if ticket.granted:
                    return
            self._active -= 1
            self._changed.notify_all()


class BoundedExecutor:
    """Owns the ``ThreadPoolExecutor`` and creates its lanes.

    The thread that opened it closes it, outside of the event loop, after intake has stopped.
    """

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers
        self._pool = ThreadPoolExecutor(max_workers, thread_name_prefix="agent-storage")
        self._lanes: dict[str, Lane] = {}

    def lane(self, name: str, *, limit: int, max_waiting: int, wait_timeout_s: float) -> Lane:
        """Create a lane of this pool.

        Raises:
            ValueError: the name is taken, or the limits of all lanes would exceed ``max_workers``.
        """
        taken = sum(lane.limit for lane in self._lanes.values())
        if name in self._lanes:
            raise ValueError(f"there is a lane {name!r} already")
        if limit < 1 or taken + limit > self.max_workers:
            raise ValueError(f"lane {name!r} wants {limit} of {self.max_workers} threads; {taken} are taken")
        lane = Lane(self._pool, name, limit=limit, max_waiting=max_waiting, wait_timeout_s=wait_timeout_s)
        self._lanes[name] = lane
        return lane

    def find_lane(self, name: str) -> Lane | None:
        """Return the lane with this name, or None."""
        return self._lanes.get(name)

    def stats(self) -> list[LaneStats]:
        """Return a snapshot of every lane's counters. Thread-safe."""
        return [lane.stats() for lane in list(self._lanes.values())]

    def close(self, timeout_s: float) -> bool:
        """Refuse new calls, fail waiting ones, and wait for running ones, at most ``timeout_s``.

        Return True if every thread became free. Otherwise the number of calls that still run is
        logged for each lane, and their threads end with the calls. The interpreter always waits for
        these threads at exit, so a process that must end at once has to flush its data and call
        ``os._exit``.
        """
        deadline = time.monotonic() + timeout_s
        for lane in self._lanes.values():
            lane.close()
        busy = [lane for lane in self._lanes.values() if not lane.wait_idle(deadline - time.monotonic())]
        self._pool.shutdown(wait=not busy)
        for lane in busy:
            logger.warning(
                "calls on the %s lane that still run after %g s: %d", lane.name, timeout_s, lane.stats().active
            )
        return not busy


def _do_nothing() -> None:
    """Do nothing; a ping calls it."""


def _retrieve(call: asyncio.Future[Any]) -> None:
    """Retrieve a call's exception, so that asyncio doesn't log it if the caller is gone."""
    if not call.cancelled():
        call.exception()
