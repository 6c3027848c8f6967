"""Check the health of each part."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from app.errors import AgentStorageError

Ping = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PartHealth:
    """The health of one part: ``error`` is None when it is healthy."""

    part: str
    latency_seconds: float
    error: str | None
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether the part is healthy."""
        return self.error is None


class Health:
    """Holds a ping for each part: a call that returns if the part works, and raises if not."""

    def __init__(self, pings: Mapping[str, Ping]) -> None:
        self._pings = dict(pings)

    async def check(self, timeout_s: float = 1.0, parts: Collection[str] | None = None) -> list[PartHealth]:
        """Ping all parts, or these, concurrently; a part must answer within ``timeout_s``."""
        asked = {part: ping for part, ping in self._pings.items() if parts is None or part in parts}
        return list(await asyncio.gather(*(_ask(part, ping, timeout_s) for part, ping in asked.items())))


async def _ask(part: str, ping: Ping, timeout_s: float) -> PartHealth:
    started = time.monotonic()
    error: str | None = None
    timed_out = False
    try:
        async with asyncio.timeout(timeout_s):
            await ping()
    except TimeoutError:
        error, timed_out = f"no answer in {timeout_s:g} s", True
    except AgentStorageError as fault:
        error = str(fault)
    except Exception as fault:  # noqa: BLE001 - any error of a part must leave the others' results
        error = f"{type(fault).__name__}: {fault}"
    return PartHealth(part, time.monotonic() - started, error, timed_out)
