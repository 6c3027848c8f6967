"""Prefetching: produce the next item while the caller uses the last one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class _End(Generic[T]):
    """Marks the end of the items."""


async def reading_ahead(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yield the same items in order, producing one item ahead of the caller.

    An error is raised in its item's place, after the items before it. A caller that may stop early
    must close the generator (:func:`contextlib.aclosing`), which cancels the item in progress.
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
