"""Retry with exponential backoff and full jitter, within one deadline."""

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
    """The deadline and the delays of retries.

    ``total_s`` bounds all tries and pauses of one call together, counted from the call. The pause
    after try ``n`` is random between 0 and ``first_delay_s * 2 ** (n - 1)``, at most
    ``max_delay_s``.
    """

    total_s: float
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0

    def __post_init__(self) -> None:
        if self.total_s <= 0 or self.first_delay_s < 0 or self.max_delay_s < 0:
            raise ValueError(f"not a retry policy: {self}")

    def pause_s(self, tries: int) -> float:
        """Return a random pause after this many failed tries (1 or more)."""
        doublings = min(tries - 1, 32)  # 2.0 ** 1024 would overflow
        return random.uniform(0.0, min(self.max_delay_s, self.first_delay_s * 2.0**doublings))  # noqa: S311 - not a secret


class GaveUp(Exception):  # noqa: N818 - callers always translate it
    """All tries failed with transient errors until the deadline; ``__cause__`` is the last one.

    ``retry_after_s`` is the wait that the last failure asked for, often longer than the time left.
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
    """Await ``attempt`` until it succeeds, fails permanently, or the policy's time is used up.

    ``attempt`` gets the seconds left until the deadline and must keep to them. ``retry_after``
    classifies a failure: None if a retry can't help, else the minimum seconds to wait (the server's
    ``Retry-After``, or 0.0); the jitter is added. A pause that would pass the deadline isn't begun.
    No resource is held during a pause; cancellation cancels the try or the pause.

    Raises:
        GaveUp: all failures until the deadline were transient; chained to the last one.
        Exception: the failure of ``attempt`` for which ``retry_after`` returned None.
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
    """Parse the seconds of a ``Retry-After`` header (number or date); 0.0 if missing or invalid."""
    try:
        return max(0.0, float(header or 0.0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - time.time())
    except ValueError:
        return 0.0
