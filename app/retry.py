"""Trying again: exponential backoff with full jitter, inside one deadline."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to keep trying.

    ``total_s`` bounds all tries and pauses of one call together, counted from when it was asked.
    The pause after try ``n`` is random between 0 and ``first_delay_s * 2 ** (n - 1)``, at most
    ``max_delay_s``.
    """

    total_s: float
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0

    def __post_init__(self) -> None:
        if self.total_s <= 0 or self.first_delay_s < 0 or self.max_delay_s < 0:
            raise ValueError(f"not a retry policy: {self}")

    def pause_s(self, tries: int) -> float:
        """The random pause after that many failed tries (1 or more)."""
        doublings = min(tries - 1, 32)  # 2.0 ** 1024 would overflow
        return random.uniform(0.0, min(self.max_delay_s, self.first_delay_s * 2.0**doublings))  # noqa: S311 - no secret


class GaveUp(Exception):  # noqa: N818 - says what happened; callers translate it and never let it out
    """Every try failed for a passing reason and the time is used up; ``__cause__`` is the last failure.

    ``retry_after_s`` is what it asked to wait for: often more time than there was.
    """

    def __init__(self, tries: int, total_s: float, retry_after_s: float = 0.0) -> None:
        self.tries = tries
        self.retry_after_s = retry_after_s
        super().__init__(f"gave up after {tries} {'try' if tries == 1 else 'tries'} within {total_s:g} s")


async def retrying(
    policy: RetryPolicy,
    attempt: Callable[[float], Awaitable[T]],
    *,
    retry_after: Callable[[Exception], float | None],
) -> T:
    """Await ``attempt`` until it succeeds, fails for good, or the policy's time is used up.

    ``attempt`` gets the seconds left of the whole call and keeps to them itself. ``retry_after``
    judges a failure: None when trying again can't help, else the least seconds to wait first (what
    the server asked for, 0.0 when it asked for nothing); the jitter comes on top. A pause that
    would end past the deadline isn't begun. Holds nothing while it pauses; cancelling it cancels
    the try or the pause.

    Raises:
        GaveUp: only passing failures until the deadline; chained to the last.
        Exception: whatever ``attempt`` raised that ``retry_after`` answered with None.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + policy.total_s
    tries = 0
    while True:
        tries += 1
        try:
            return await attempt(deadline - loop.time())
        except Exception as error:
            least_s = retry_after(error)
            if least_s is None:
                raise
            pause_s = least_s + policy.pause_s(tries)
            if loop.time() + pause_s >= deadline:
                raise GaveUp(tries, policy.total_s, least_s) from error
        await asyncio.sleep(pause_s)


def parse_retry_after(header: str | None) -> float:
    """The seconds an HTTP ``Retry-After`` header asks for, by number or by date; 0.0 for none or nonsense."""
    try:
        return max(0.0, float(header or 0.0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - time.time())
    except ValueError:
        return 0.0
