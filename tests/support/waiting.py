"""Waiting for something to come true, for as long as only a hang takes."""

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""A hang, however busy the machine is."""


def wait_for(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Block until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Let the event loop run until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.005)
