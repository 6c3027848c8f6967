"""Making the next while the last is used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from app.reading_ahead import reading_ahead


class Numbers:
    """Counts the numbers that it made; fails at ``fails_at``, and hangs at ``hangs_at``."""

    def __init__(self, fails_at: int = -1, hangs_at: int = -1) -> None:
        self.made = 0
        self.given_up = False
        self._fails_at = fails_at
        self._hangs_at = hangs_at

    async def up_to(self, end: int) -> AsyncIterator[int]:
        for number in range(end):
            if number == self._fails_at:
                raise ValueError(number)
            if number == self._hangs_at:
                try:
                    await asyncio.Event().wait()
                finally:
                    self.given_up = True
            self.made += 1
            yield number


async def test_all_come_in_order_and_one_is_made_ahead() -> None:
    numbers = Numbers()
    got = []
    async for number in reading_ahead(numbers.up_to(5)):
        got.append(number)
        for _ in range(10):
            await asyncio.sleep(0)
        assert numbers.made == min(5, number + 2)
    assert got == [0, 1, 2, 3, 4]


async def test_of_nothing_nothing_comes() -> None:
    assert [number async for number in reading_ahead(Numbers().up_to(0))] == []


async def test_a_fault_comes_after_what_was_made_before_it() -> None:
    ahead = reading_ahead(Numbers(fails_at=2).up_to(5))
    assert [await anext(ahead), await anext(ahead)] == [0, 1]
    with pytest.raises(ValueError, match="2"):
        await anext(ahead)


async def test_who_leaves_off_ends_what_is_being_made() -> None:
    numbers = Numbers(hangs_at=1)
    async with aclosing(reading_ahead(numbers.up_to(5))) as ahead:
        async for _ in ahead:
            await asyncio.sleep(0)
            break
    assert numbers.given_up
