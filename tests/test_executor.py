"""The executor with real threads and event loops; gates, not sleeps, control the order."""

import asyncio
import gc
import logging
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import NoReturn

import pytest
from support.waiting import until

from app.errors import AgentStorageError, DeadlineExceeded, Saturated, ShuttingDown
from app.executor import BoundedExecutor, Lane

Act = Callable[[], object]


class Gate:
    """Blocks threads until it opens; counts them, and the most at a time."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.entered = 0
        self.inside = 0
        self.most = 0

    def open(self) -> None:
        self._open.set()

    def __call__(self, result: object = None) -> object:
        with self._lock:
            self.entered += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
        if not self._open.wait(30):
            raise TimeoutError("the gate was never opened")
        with self._lock:
            self.inside -= 1
        return result


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def executor(gate: Gate) -> Iterator[BoundedExecutor]:
    executor = BoundedExecutor(8)
    yield executor
    gate.open()
    assert executor.close(30)


def lane_of(executor: BoundedExecutor, limit: int = 1, *, max_waiting: int = 100, wait_s: float = 30) -> Lane:
    return executor.lane(f"test-{limit}", limit=limit, max_waiting=max_waiting, wait_timeout_s=wait_s)


async def fill(lane: Lane, gate: Gate) -> list["asyncio.Task[object]"]:
    """Take every slot of the lane with calls that the gate holds."""
    before = gate.entered
    tasks = [asyncio.create_task(lane.run(gate, "held")) for _ in range(lane.limit)]
    await until(lambda: gate.entered == before + lane.limit)
    return tasks


async def queue(lane: Lane, fn: Act, count: int = 1) -> list["asyncio.Task[object]"]:
    """Callers that wait for a slot of a full lane."""
    before = lane.stats().waiting
    tasks = [asyncio.create_task(lane.run(fn)) for _ in range(count)]
    await until(lambda: lane.stats().waiting == before + count)
    return tasks


async def assert_every_slot_is_usable(lane: Lane) -> None:
    stats = lane.stats()
    assert (stats.active, stats.waiting) == (0, 0)
    gate = Gate()
    tasks = await fill(lane, gate)
    assert lane.stats().active == lane.limit
    extra = await queue(lane, gate)
    gate.open()
    await asyncio.gather(*tasks, *extra)
    await until(lambda: lane.stats().active == 0)
    assert gate.most == lane.limit


# --- running --------------------------------------------------------------------------------------


async def test_runs_on_a_thread_of_the_pool_and_returns_the_result(executor: BoundedExecutor) -> None:
    lane = lane_of(executor)
    name, total = await lane.run(lambda a, b: (threading.current_thread().name, a + b), 2, 3)
    assert name.startswith("agent-storage")
    assert total == 5


async def test_an_error_of_the_call_surfaces_unchanged_and_frees_the_slot(executor: BoundedExecutor) -> None:
    lane = lane_of(executor)
    error = KeyError("mine")

    def fail() -> NoReturn:
        raise error

    with pytest.raises(KeyError) as caught:
        await lane.run(fail)
    assert caught.value is error
    assert await lane.run(int) == 0


async def test_a_timeout_error_of_the_call_is_not_taken_for_the_deadline(executor: BoundedExecutor) -> None:
    def fail() -> NoReturn:
        raise TimeoutError("the call's own")

    with pytest.raises(TimeoutError, match="the call's own"):
        await lane_of(executor).run(fail, timeout_s=20)


async def test_a_call_that_raises_stop_iteration_fails_instead_of_hanging(executor: BoundedExecutor) -> None:
    lane = lane_of(executor)
    with pytest.raises(RuntimeError, match="StopIteration") as caught:
        await asyncio.wait_for(lane.run(next, iter(())), 20)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert await lane.run(int) == 0


async def test_a_base_exception_of_the_call_surfaces_and_frees_the_slot(executor: BoundedExecutor) -> None:
    class Abandon(BaseException):
        pass

    def fail() -> NoReturn:
        raise Abandon

    lane = lane_of(executor)
    with pytest.raises(Abandon):
        await lane.run(fail)
    assert await lane.run(int) == 0
    assert lane.stats().active == 0


async def test_context_variables_are_carried_and_changes_stay_with_the_call(executor: BoundedExecutor) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    lane = lane_of(executor, 4)

    def read_and_change() -> str:
        seen = request.get()
        request.set("changed on the thread")
        return seen

    async def one(number: int) -> bool:
        request.set(f"request {number}")
        first, second = await lane.run(read_and_change), await lane.run(request.get)
        return first == second == f"request {number}"

    assert all(await asyncio.gather(*(one(number) for number in range(50))))
    assert request.get() == "none"


async def test_the_loop_stays_free_while_calls_block(executor: BoundedExecutor, gate: Gate) -> None:
    lane = lane_of(executor, 2)
    tasks = await fill(lane, gate)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    gate.open()
    assert await asyncio.gather(*tasks) == ["held", "held"]


# --- bounds ---------------------------------------------------------------------------------------


async def test_never_more_than_the_limit_run_at_once(executor: BoundedExecutor) -> None:
    lane, busy = lane_of(executor, 3, max_waiting=1000), Gate()
    busy.open()
    await asyncio.gather(*(lane.run(busy) for _ in range(500)))
    assert busy.entered == 500
    assert busy.most <= 3


async def test_waiting_callers_go_in_the_order_they_asked(executor: BoundedExecutor, gate: Gate) -> None:
    lane = lane_of(executor)
    order: list[int] = []
    held = await fill(lane, gate)
    tasks = [asyncio.create_task(lane.run(order.append, number)) for number in range(50)]
    await until(lambda: lane.stats().waiting == 50)
    for number in range(0, 50, 7):
        tasks[number].cancel()
    gate.open()
    await asyncio.gather(*held, *tasks, return_exceptions=True)
    assert order == [number for number in range(50) if number % 7]


async def test_a_full_lane_refuses_at_once_and_counts_it(executor: BoundedExecutor, gate: Gate) -> None:
    lane = lane_of(executor, max_waiting=2)
    tasks = await fill(lane, gate) + await queue(lane, gate, 2)
    refused = lane.run(int)
    with pytest.raises(Saturated, match="the test-1 lane is full: 2 callers are waiting") as caught:
        refused.send(None)  # refused within its first step, with no wait at all
    assert (caught.value.lane, caught.value.waiting, caught.value.retryable) == ("test-1", 2, True)
    assert lane.stats().rejected == 1
    gate.open()
    await asyncio.gather(*tasks)
    assert await lane.run(int) == 0


async def test_a_lane_without_a_waiting_room_runs_or_refuses(executor: BoundedExecutor, gate: Gate) -> None:
    lane = lane_of(executor, max_waiting=0)
    assert await lane.run(int) == 0
    held = await fill(lane, gate)
    with pytest.raises(Saturated):
        await lane.run(int)
    gate.open()
    await asyncio.gather(*held)


async def test_waiting_longer_than_the_lane_allows_is_refused(executor: BoundedExecutor, gate: Gate) -> None:
    lane = lane_of(executor, wait_s=0.05)
    held = await fill(lane, gate)
    with pytest.raises(Saturated):
        await lane.run(int, timeout_s=25)
    stats = lane.stats()
    assert (stats.rejected, stats.waiting, stats.active) == (1, 0, 1)
    assert stats.wait_seconds >= 0.04
    gate.open()
    await asyncio.gather(*held)
    await until(lambda: lane.stats().active == 0)
    await assert_every_slot_is_usable(lane)


async def test_the_deadline_counts_from_the_ask_when_a_slot_never_comes(
    executor: BoundedExecutor, gate: Gate
) -> None:
    lane = lane_of(executor)
    await fill(lane, gate)
    with pytest.raises(DeadlineExceeded, match=r"waiting for the test-1 lane took longer than 0\.05 s"):
        await lane.run(int, timeout_s=0.05)
    assert lane.stats().waiting == 0


@pytest.mark.slow
async def test_the_deadline_counts_from_the_ask_when_a_slot_comes_late(executor: BoundedExecutor) -> None:
    lane, first, second = lane_of(executor), Gate(), Gate()
    await fill(lane, first)
    loop = asyncio.get_running_loop()
    loop.call_later(1, first.open)
    asked = loop.time()
    with pytest.raises(DeadlineExceeded, match="a call on the test-1 lane"):
        await lane.run(second, timeout_s=1.5)
    assert second.entered == 1
    assert 1.49 <= loop.time() - asked < 2.4  # 1 s of waiting and the rest, not a fresh 1.5 s after it
    assert lane.stats().active == 1  # the thread is still in there
    second.open()
    await until(lambda: lane.stats().active == 0)


@pytest.mark.parametrize("timeout_s", [0, -1.5])
async def test_a_call_with_no_time_left_is_not_begun(executor: BoundedExecutor, timeout_s: float) -> None:
    lane = lane_of(executor)
    with pytest.raises(DeadlineExceeded):
        await lane.run(int, timeout_s=timeout_s)
    assert lane.stats().finished == 0


async def test_a_stuck_lane_does_not_delay_another(executor: BoundedExecutor, gate: Gate) -> None:
    stuck, free = lane_of(executor, 5), lane_of(executor, 3)
    held = await fill(stuck, gate) + await queue(stuck, gate, 50)
    free_gate = Gate()
    running = await fill(free, free_gate)  # all its threads at once, with the other lane full
    free_gate.open()
    await asyncio.gather(*running)
    for _ in range(200):
        assert await free.run(int) == 0
    assert (free.stats().waiting, free.stats().rejected) == (0, 0)
    assert not any(task.done() for task in held)


# --- cancellation ---------------------------------------------------------------------------------


async def test_a_cancelled_call_keeps_its_slot_until_the_thread_is_free(
    executor: BoundedExecutor, gate: Gate
) -> None:
    lane = lane_of(executor)
    [task] = await fill(lane, gate)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lane.stats().active == 1
    [waiting] = await queue(lane, lambda: "after")
    await asyncio.sleep(0.02)
    assert not waiting.done()
    gate.open()
    assert await waiting == "after"
    assert lane.stats().active == 0


async def test_a_cancelled_waiter_leaves_the_queue_and_never_runs(
    executor: BoundedExecutor, gate: Gate
) -> None:
    lane, unwanted = lane_of(executor), Gate()
    held = await fill(lane, gate)
    [task] = await queue(lane, unwanted)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lane.stats().waiting == 0
    gate.open()
    await asyncio.gather(*held)
    assert unwanted.entered == 0
    await assert_every_slot_is_usable(lane)


async def test_a_waiter_cancelled_as_it_is_granted_the_slot_passes_it_on(
    executor: BoundedExecutor, gate: Gate
) -> None:
    lane, unwanted = lane_of(executor), Gate()
    await fill(lane, gate)
    [first] = await queue(lane, unwanted)
    [second] = await queue(lane, lambda: "the next one's")
    gate.open()
    while lane.stats().waiting == 2:  # this loop is held here: the grant stands, and its news hasn't arrived
        time.sleep(0.001)  # noqa: ASYNC251 - on purpose
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "the next one's"
    assert unwanted.entered == 0
    await assert_every_slot_is_usable(lane)


async def test_a_waiter_whose_time_is_up_as_it_is_granted_the_slot_passes_it_on(
    executor: BoundedExecutor, gate: Gate
) -> None:
    lane = lane_of(executor)
    await fill(lane, gate)
    hasty = asyncio.create_task(lane.run(int, timeout_s=0.05))
    await until(lambda: lane.stats().waiting == 1)
    gate.open()
    while lane.stats().waiting:
        time.sleep(0.001)  # noqa: ASYNC251 - on purpose: the loop learns of grant and deadline together
    time.sleep(0.1)  # noqa: ASYNC251 - likewise
    await asyncio.gather(hasty, return_exceptions=True)
    await until(lambda: lane.stats().active == 0)
    await assert_every_slot_is_usable(lane)


def flaky(seconds: float) -> None:
    time.sleep(seconds)
    if seconds > 0.0015:
        raise ValueError("the caller may have been cancelled")


@pytest.mark.slow
async def test_a_thousand_cancelled_calls_leak_no_slot(
    executor: BoundedExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    lane, chance = lane_of(executor, 3, max_waiting=1000), random.Random(7)  # noqa: S311 - moments, no secrets
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(lane.run(flaky, chance.random() * 0.002)) for _ in range(1000)]
    for task in tasks:
        loop.call_later(chance.random() * 0.6, task.cancel)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = {type(outcome) for outcome in outcomes}
    assert asyncio.CancelledError in kinds
    assert kinds <= {asyncio.CancelledError, ValueError, type(None)}
    await until(lambda: lane.stats().active == 0)
    await assert_every_slot_is_usable(lane)
    del tasks, task, outcomes
    gc.collect()
    assert not caplog.records  # nothing about exceptions never retrieved


@pytest.mark.slow
async def test_a_thousand_deadlines_at_random_moments_leak_no_slot(executor: BoundedExecutor) -> None:
    lane, chance = lane_of(executor, 3, max_waiting=1000), random.Random(11)  # noqa: S311 - moments, no secrets
    calls = (lane.run(time.sleep, 0.001, timeout_s=chance.random() * 0.5) for _ in range(1000))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded, type(None)}
    await until(lambda: lane.stats().active == 0)
    await assert_every_slot_is_usable(lane)


# --- several event loops --------------------------------------------------------------------------


def on_loops(count: int, main: Callable[[int], object]) -> None:
    """Run ``main(number)`` on ``count`` event loops in separate threads; raise an error of any."""
    errors: list[BaseException] = []

    def thread(number: int) -> None:
        try:
            main(number)
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            errors.append(error)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if errors:
        raise errors[0]


def test_several_event_loops_share_one_lane(executor: BoundedExecutor) -> None:
    lane, busy = lane_of(executor, 3, max_waiting=10_000), Gate()
    busy.open()

    async def many(number: int) -> None:
        loop = asyncio.get_running_loop()

        async def one(item: int) -> bool:
            answered = await lane.run(busy, (number, item)) == (number, item)
            return answered and asyncio.get_running_loop() is loop

        assert all(await asyncio.gather(*(one(item) for item in range(300))))

    on_loops(6, lambda number: asyncio.run(many(number)))
    assert busy.entered == 1800
    assert busy.most <= 3
    asyncio.run(assert_every_slot_is_usable(lane))


def test_cancelling_on_several_loops_at_once_leaks_no_slot(executor: BoundedExecutor) -> None:
    lane = lane_of(executor, 3, max_waiting=10_000)

    async def many(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - moments, no secrets
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(lane.run(time.sleep, 0.0005)) for _ in range(250)]
        for task in tasks:
            loop.call_later(chance.random() * 0.3, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)

    on_loops(4, lambda number: asyncio.run(many(number)))
    while lane.stats().active:
        time.sleep(0.001)
    asyncio.run(assert_every_slot_is_usable(lane))


def test_an_event_loop_closed_with_waiters_loses_no_slot(executor: BoundedExecutor, gate: Gate) -> None:
    lane, unwanted = lane_of(executor, 2), Gate()
    held = [executor._pool.submit(asyncio.run, lane.run(gate)) for _ in range(2)]  # loops of their own
    while lane.stats().active < 2:
        time.sleep(0.001)
    dead = asyncio.new_event_loop()
    tasks = [dead.create_task(lane.run(unwanted)) for _ in range(5)]
    while lane.stats().waiting < 5:
        dead.run_until_complete(asyncio.sleep(0.001))
    dead.close()  # without cancelling them, as no well-behaved program does
    gate.open()
    for call in held:
        call.result(30)
    assert (lane.stats().active, lane.stats().waiting, unwanted.entered) == (0, 0, 0)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own way to say "I know"
    del tasks, task
    gc.collect()  # their coroutines are closed now, and must not give back a slot they never had
    asyncio.run(assert_every_slot_is_usable(lane))


# --- closing --------------------------------------------------------------------------------------


async def in_thread(fn: Callable[..., bool], *args: object) -> "asyncio.Task[bool]":
    """Call from a separate thread, as the entry points do, and not on the loop."""
    return asyncio.create_task(asyncio.to_thread(fn, *args))


async def test_draining_lets_running_work_finish_and_fails_what_waits() -> None:
    executor, gate, unwanted = BoundedExecutor(4), Gate(), Gate()
    lane, other = lane_of(executor, 2), lane_of(executor, 1)
    running = await fill(lane, gate)
    waiting = await queue(lane, unwanted, 3)
    closing = await in_thread(executor.close, 20)
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, ShuttingDown)
        assert "the test-2 lane is shutting down" in str(error)
    await until(lambda: other._closed)
    for refusing in (lane, other):
        with pytest.raises(ShuttingDown):
            await refusing.run(int)
    assert not closing.done()
    gate.open()
    assert await asyncio.gather(*running) == ["held", "held"]
    assert await closing is True
    assert unwanted.entered == 0
    assert [stats.active for stats in executor.stats()] == [0, 0]


async def test_closing_gives_up_at_its_deadline_and_says_which_lane_is_stuck(
    caplog: pytest.LogCaptureFixture,
) -> None:
    executor, gate = BoundedExecutor(4), Gate()
    lane, other = lane_of(executor, 2), lane_of(executor, 1)
    running = await fill(lane, gate)
    assert await other.run(int) == 0
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, "app.executor"):
        assert await (await in_thread(executor.close, 0.2)) is False
    assert 0.2 <= time.monotonic() - started < 10
    assert caplog.messages == ["calls on the test-2 lane that still run after 0.2 s: 2"]
    gate.open()
    assert await asyncio.gather(*running) == ["held", "held"]  # their callers still get the results
    assert await (await in_thread(executor.close, 20)) is True


@pytest.mark.slow
async def test_the_deadline_of_closing_is_shared_by_all_lanes() -> None:
    executor, gate = BoundedExecutor(8), Gate()
    lanes = [lane_of(executor, limit) for limit in (1, 2, 3)]
    running = [task for lane in lanes for task in await fill(lane, gate)]
    started = time.monotonic()
    assert await (await in_thread(executor.close, 0.4)) is False
    assert time.monotonic() - started < 1.1  # not 0.4 s for each
    gate.open()
    await asyncio.gather(*running)


async def test_closing_twice_is_closing_once() -> None:
    executor = BoundedExecutor(2)
    lane_of(executor)
    assert await (await in_thread(executor.close, 5)) is True
    assert await (await in_thread(executor.close, 5)) is True


async def test_a_slot_granted_as_the_executor_closes_is_given_back() -> None:
    executor, gate = BoundedExecutor(2), Gate()
    lane = lane_of(executor)
    await fill(lane, gate)
    [granted] = await queue(lane, int)
    gate.open()
    while lane.stats().waiting:  # granted, while this loop is held and can't go on
        time.sleep(0.001)  # noqa: ASYNC251 - on purpose
    assert executor.close(0.05) is False  # on the loop on purpose: the slot is out, and its caller can't answer
    with pytest.raises(ShuttingDown):
        await granted
    assert lane.stats().active == 0


@pytest.mark.slow
def test_the_interpreter_waits_for_a_stuck_call_unless_it_is_left_by_os_exit() -> None:
    program = """
import asyncio, os, sys, threading, time
from app.executor import BoundedExecutor
executor = BoundedExecutor(1)
lane = executor.lane("stuck", limit=1, max_waiting=0, wait_timeout_s=1)
async def main():
    asyncio.create_task(lane.run(time.sleep, 60))
    await asyncio.sleep(0.1)
asyncio.run(main())
closed = executor.close(0.1)
os._exit(0 if closed is False else 1)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert done.returncode == 0


# --- counters and making --------------------------------------------------------------------------


async def test_counters_follow_the_calls(executor: BoundedExecutor, gate: Gate) -> None:
    lane = lane_of(executor, 2)
    held = await fill(lane, gate)
    waiting = await queue(lane, lambda: time.sleep(0.02), 3)
    stats = lane.stats()
    assert (stats.name, stats.limit, stats.active, stats.waiting, stats.finished) == ("test-2", 2, 2, 3, 0)
    await asyncio.sleep(0.05)
    gate.open()
    await asyncio.gather(*held, *waiting)
    stats = lane.stats()
    assert (stats.active, stats.waiting, stats.finished, stats.rejected) == (0, 0, 5, 0)
    assert stats.wait_seconds >= 3 * 0.05
    assert stats.run_seconds >= 2 * 0.05 + 3 * 0.02
    assert executor.stats() == [stats]


async def test_a_call_that_finds_the_system_out_of_threads_keeps_its_slot_until_it_ran(
    executor: BoundedExecutor,
) -> None:
    lane = lane_of(executor, 2)
    ran = threading.Event()
    usual = threading.stack_size(1 << 46)  # more than any system grants, so no thread can start
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await lane.run(ran.set)
    finally:
        threading.stack_size(usual)
    assert lane.stats().active == 1  # the pool holds the call, and will run it once it has a thread
    await lane.run(int)
    assert ran.wait(20)
    await until(lambda: lane.stats().active == 0)
    assert await lane.run(int) == 0


def test_lanes_can_not_promise_more_threads_than_there_are(executor: BoundedExecutor) -> None:
    executor.lane("a", limit=5, max_waiting=1, wait_timeout_s=1)
    with pytest.raises(ValueError, match="lane 'b' wants 4 of 8 threads; 5 are taken"):
        executor.lane("b", limit=4, max_waiting=1, wait_timeout_s=1)
    executor.lane("c", limit=3, max_waiting=1, wait_timeout_s=1)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_lane_needs_a_thread(executor: BoundedExecutor, limit: int) -> None:
    with pytest.raises(ValueError, match="wants"):
        lane_of(executor, limit)


def test_a_lane_name_is_given_once(executor: BoundedExecutor) -> None:
    lane_of(executor)
    with pytest.raises(ValueError, match="there is a lane 'test-1' already"):
        lane_of(executor)


def test_making_an_executor_starts_no_thread() -> None:
    before = threading.active_count()
    executor = BoundedExecutor(4)
    lane_of(executor)
    assert threading.active_count() == before
    assert executor.close(1)


def test_the_bounds_errors_are_ones_a_caller_can_retry() -> None:
    kinds: list[type[AgentStorageError]] = [Saturated, DeadlineExceeded, ShuttingDown]
    assert all(kind.retryable for kind in kinds)
