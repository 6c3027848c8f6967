"""One call for all who ask at once."""

import asyncio

import pytest

from app.errors import DeadlineExceeded
from app.services.metrics.single_flight import SingleFlight


class Maker:
    """Makes a number when it is let, one more each time; tells how many calls ran at once."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.let.set()
        self.calls = 0
        self.running = 0
        self.most = 0
        self.error: Exception | None = None

    async def make(self) -> int:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await self.let.wait()
        self.running -= 1
        if self.error is not None:
            raise self.error
        return self.calls


@pytest.fixture
async def maker() -> Maker:
    return Maker()


async def test_all_who_ask_at_once_share_one_call(maker: Maker) -> None:
    shared = SingleFlight(maker.make, "making", least_s=0.0, times=0.0)
    assert await asyncio.gather(*(shared.get() for _ in range(100))) == [1] * 100
    assert await shared.get() == 2
    assert maker.most == 1


async def test_a_value_stands_for_a_while(maker: Maker) -> None:
    shared = SingleFlight(maker.make, "making", least_s=3600.0)
    assert [await shared.get() for _ in range(3)] == [1, 1, 1]


async def test_a_value_stands_longer_the_longer_it_took(maker: Maker) -> None:
    shared = SingleFlight(maker.make, "making", least_s=0.0, times=1e9)
    assert [await shared.get() for _ in range(3)] == [1, 1, 1]


async def test_a_failure_reaches_all_and_is_not_kept(maker: Maker) -> None:
    shared = SingleFlight(maker.make, "making", least_s=3600.0)
    maker.error = ValueError("no")
    outcomes = await asyncio.gather(*(shared.get() for _ in range(2)), return_exceptions=True)
    assert outcomes == [maker.error] * 2
    maker.error = None
    assert await shared.get() == 2


async def test_who_is_cancelled_leaves_the_others_waiting(maker: Maker) -> None:
    shared = SingleFlight(maker.make, "making")
    maker.let.clear()
    first, second = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    maker.let.set()
    assert await second == 1
    assert first.cancelled()


async def test_who_is_out_of_patience_leaves_the_call_to_the_next(maker: Maker) -> None:
    shared = SingleFlight(maker.make, "making numbers")
    maker.let.clear()
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match="making numbers took longer than"):
            await shared.get(patience_s=0.001)
    maker.let.set()
    assert await shared.get() == 1
    assert maker.most == 1


async def test_a_failure_nobody_waited_for_is_not_logged_as_lost(
    maker: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    shared = SingleFlight(maker.make, "making")
    maker.let.clear()
    maker.error = ValueError("no")
    with pytest.raises(DeadlineExceeded):
        await shared.get(patience_s=0.001)
    maker.let.set()
    await asyncio.sleep(0.01)
    del shared
    assert not caplog.records


def test_another_event_loop_may_follow() -> None:
    async def leave_early() -> None:
        with pytest.raises(DeadlineExceeded):
            await shared.get(patience_s=0.001)

    async def ask() -> int:
        return await shared.get()

    async def make() -> int:
        calls.append(1)
        await asyncio.sleep(3600 if len(calls) == 1 else 0)
        return len(calls)

    calls: list[int] = []
    shared = SingleFlight(make, "making")
    asyncio.run(leave_early())
    assert asyncio.run(ask()) == 2
    assert asyncio.run(ask()) == 2
