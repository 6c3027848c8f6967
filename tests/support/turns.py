"""Measures whether long work blocks other threads, or other tasks of the event loop."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable


def turns_beside(work: Callable[[], object]) -> int:
    """How often this thread gets the GIL during ``work``: about every 5 ms if it isn't held."""
    turns = 0
    working = threading.Thread(target=work)
    working.start()
    while working.is_alive():
        turns += 1
        time.sleep(0.001)
    return turns


async def longest_hold(work: Awaitable[object]) -> float:
    """The longest block of the event loop, as a share of the time of ``work``; 1.0 is all of it."""
    working = asyncio.ensure_future(work)
    started = last = time.monotonic()
    longest = 0.0
    while not working.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    await working
    return longest / (last - started)
