"""Waits for conditions, with timeouts that only a hang exceeds."""

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""Long enough for a busy machine, so only a hang exceeds it."""


def wait_for(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Block until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.02)


async def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Run the event loop until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.005)
