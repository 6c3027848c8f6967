"""Making the next while the last is used."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class _End(Generic[T]):
    """Nothing follows."""


async def reading_ahead(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same items, in order: while the caller works on one, the next is made, and no more than that.

    What making it raises comes in its place, after the items before. Whoever may leave off early
    closes it (:func:`contextlib.aclosing`), and so ends what is being made.
    """
    following = asyncio.create_task(_next(items))
    try:
        while not isinstance(item := await following, _End):
            following = asyncio.create_task(_next(items))
            yield item
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await following


async def _next(items: AsyncIterator[T]) -> T | _End[T]:
    try:
        return await anext(items)
    except StopAsyncIteration:
        return _End()
