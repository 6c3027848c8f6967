"""Send requests to Qdrant on its lane, with retries, in parts as large as the server takes."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from app.errors import CollectionMissing, DeadlineExceeded, QdrantDiskFull, QdrantError, QdrantUnavailable
from app.executor import Lane
from app.retry import GaveUp, RetryPolicy, retrying
from app.services.storage.qdrant.ports import ClientFailure

T = TypeVar("T")
X = TypeVar("X")


class RequestInstruments(Protocol):
    """Measures requests to Qdrant; thread-safe, and never raises."""

    def qdrant(self, operation: str, seconds: float, *, failed: bool) -> None:
        """Record how long a request took on its thread; each attempt counts."""


class Requests:
    """Requests to one collection. Remembers how many members of a request the server takes."""

    def __init__(
        self, lane: Lane, collection: str, retry: RetryPolicy, instruments: RequestInstruments | None
    ) -> None:
        self._lane = lane
        self._collection = collection
        self._retry = retry
        self._instruments = instruments
        self._most: dict[str, int] = {}
        self.trouble: str | None = None
        """Why the last request failed that may be tried again; None once one has succeeded."""

    def size(self, operation: str, wanted: int) -> int:
        """How many of the wanted members to send at once."""
        return min(wanted, self._most.get(operation, wanted))

    def shrinks(self, operation: str, tried: int, most: int | None = None) -> bool:
        """Note that ``tried`` members were too many; next, try ``most``, or half of them.

        Return False if there was only one, which can't be split.
        """
        if tried <= 1:
            return False
        self._most[operation] = max(1, tried // 2 if most is None else min(most, tried - 1))
        return True

    def fits_later(self, operation: str, tried: int, failure: ClientFailure) -> bool:
        """Whether the request may succeed with fewer members; if so, note how many."""
        return failure.too_much and not failure.of_filter and self.shrinks(operation, tried, failure.most)

    async def in_parts(self, operation: str, items: Sequence[X], fn: Callable[[Any], object]) -> None:
        """Run requests for all items, as many at a time as the server takes, and each item once."""
        done = 0
        while done < len(items):
            size = self.size(operation, len(items) - done)
            try:
                await self.tried(operation, fn, items[done : done + size])
            except ClientFailure as failure:
                if not self.fits_later(operation, size, failure):
                    raise self.refused(operation, failure) from failure
            except QdrantUnavailable as error:
                # The server limits the writes in a minute: fewer members have a shorter wait.
                waits_long = (error.retry_after_s or 0) > self._retry.total_s / 2
                if not (waits_long and self.shrinks(operation, size)):
                    raise
            else:
                done += size

    async def call(self, operation: str, fn: Callable[..., T], *args: object) -> T:
        """Like :meth:`tried`, but raise every failure as a QdrantError."""
        try:
            return await self.tried(operation, fn, *args)
        except ClientFailure as failure:
            raise self.refused(operation, failure) from failure

    async def tried(self, operation: str, fn: Callable[..., T], *args: object) -> T:
        """Run one request on the lane; retry it while failures are transient and there is time.

        Raises:
            ClientFailure: it failed permanently.
            QdrantUnavailable: there is no time left.
        """
        reason = "no answer"

        async def attempt(left_s: float) -> T:
            nonlocal reason
            try:
                return await self._lane.run(self.measured, operation, fn, *args, timeout_s=left_s)
            except ClientFailure as failure:
                reason = self.trouble = failure.reason
                raise

        try:
            done = await retrying(self._retry, attempt, retry_after=_retry_after)
        except (DeadlineExceeded, GaveUp) as error:
            within = f"{reason} (within {self._retry.total_s:g} s)"
            later_s = error.retry_after_s
            raise QdrantUnavailable(operation, self._collection, within, retry_after_s=later_s) from error
        self.trouble = None
        return done

    def refused(self, operation: str, failure: ClientFailure) -> QdrantError:
        """Convert the failure to a QdrantError."""
        made = QdrantDiskFull if failure.disk_full else CollectionMissing if failure.missing else QdrantError
        return made(operation, self._collection, failure.reason)

    def measured(self, operation: str, fn: Callable[..., T], *args: object) -> T:
        """Call ``fn`` on the lane's thread and measure it, even if its caller was cancelled."""
        if self._instruments is None:
            return fn(*args)
        started = time.monotonic()
        failed = True
        try:
            result = fn(*args)
            failed = False
            return result
        finally:
            self._instruments.qdrant(operation, time.monotonic() - started, failed=failed)


def _retry_after(error: Exception) -> float | None:
    return error.retry_after_s or 0.0 if isinstance(error, ClientFailure) and error.transient else None
