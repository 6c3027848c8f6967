"""The vectors of extractions, for code on the event loop."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeVar

from numpy.typing import ArrayLike

from app.domain.filters import Filters
from app.errors import (
    CollectionMismatch,
    DeadlineExceeded,
    InvalidInput,
    QdrantDiskFull,
    QdrantError,
    QdrantUnavailable,
)
from app.executor import Lane
from app.retry import GaveUp, RetryPolicy, retrying
from app.services.storage.qdrant.points import EmbeddingItem, check_ids, checked_batches, slices, unit_vectors
from app.services.storage.qdrant.ports import (
    COLLECTION,
    DISTANCE,
    ClientFailure,
    CollectionInfo,
    Payload,
    SearchResult,
    VectorClient,
)

__all__ = ["EmbeddingItem", "QdrantRepository", "SearchResult"]

MAX_POINTS = 10_000
MAX_OFFSET = 10_000
_MAX_TIED = 40_000
_IDS_A_CALL = 500
_SCORE_DIGITS = 6

T = TypeVar("T")


class RequestInstruments(Protocol):
    """Who is told of each request to Qdrant; thread-safe, and never raises."""

    def qdrant(self, operation: str, seconds: float, *, failed: bool) -> None:
        """A request took so long on its thread; each try counts."""


class QdrantRepository:
    """The collection ``extractions``: one cosine vector of ``dimension`` an extraction, under the extraction's id.

    Every call of the client runs on ``lane``. Transient failures are tried again as ``retry`` says, whose
    total counts from when a request was asked for, waiting for the lane included; a call that takes several
    requests gives each its own. All methods raise QdrantUnavailable when that runs out, QdrantError at once
    for other failures, and Saturated when the lane is full.
    """

    def __init__(  # noqa: PLR0913 - each is a part or a setting of its own
        self,
        client: VectorClient,
        lane: Lane,
        *,
        dimension: int,
        retry: RetryPolicy | None = None,
        batch_size: int | None = None,
        instruments: RequestInstruments | None = None,
    ) -> None:
        """``batch_size`` is how many points an upsert sends at most; None leaves it to the client."""
        self._client = client
        self._lane = lane
        self._dimension = dimension
        self._retry = retry or RetryPolicy(total_s=30.0)
        self._batch_size = batch_size or client.batch_size(dimension)
        self._instruments = instruments

    async def init_collection(self) -> None:
        """Make the collection and its payload indexes where they are missing.

        Raises:
            CollectionMismatch: it exists with another size or distance; it isn't altered.
        """
        found = await self._found()
        if found is None or not found.indexed:
            await self._call("create the collection", self._client.create_collection, self._dimension)
            # Another process may have made it in the meantime, for another embedder.
            await self._found()

    async def exists(self) -> bool:
        """Whether the collection is there.

        Raises:
            CollectionMismatch: it exists with another size or distance.
        """
        return await self._found() is not None

    async def is_empty(self) -> bool:
        """Whether there is no collection, or none of its points, whatever its size."""
        found = await self._call("look up the collection", self._client.get_collection)
        return found is None or await self.count() == 0

    async def drop_collection(self) -> None:
        """Drop the collection with all its points, if there is one."""
        await self._call("drop the collection", self._client.delete_collection)

    async def upsert(self, extraction_id: str, embedding: ArrayLike, payload: Payload) -> str:
        """Store one vector, replacing what has this id. Returns the id, once Qdrant has acknowledged it."""
        [acknowledged] = await self.upsert_batch([EmbeddingItem(extraction_id, embedding, payload)])
        return acknowledged

    async def upsert_batch(self, items: Sequence[EmbeddingItem]) -> list[str]:
        """Store vectors, replacing what has their ids. Returns the ids in order, once all are acknowledged.

        All items are checked before anything is sent. A failure or a cancellation half-way leaves the first
        ones stored; storing them again changes nothing.

        Raises:
            InvalidVector, InvalidItem: the item that can't be stored, by its index; nothing was sent.
        """
        acknowledged: list[str] = []
        checking = self._lane.run(checked_batches, items, self._dimension, self._batch_size)
        for batch in await checking:
            await self._call("upsert points", self._client.upsert, batch.ids, batch.vectors, batch.payloads)
            acknowledged += batch.ids
        return acknowledged

    async def search(
        self, query_embedding: ArrayLike, limit: int, filters: Filters | None = None, offset: int = 0
    ) -> list[SearchResult]:
        """The points most similar to a vector: by falling score, and by id where scores are equal.

        Raises:
            InvalidInput: ``limit`` isn't in 1..10,000 or ``offset`` not in 0..10,000.
            InvalidVector: the vector has the wrong dimension, isn't finite in float32, or is zero.
        """
        if not 1 <= limit <= MAX_POINTS or not 0 <= offset <= MAX_OFFSET:
            raise InvalidInput(
                f"a limit is 1 to {MAX_POINTS}, an offset 0 to {MAX_OFFSET}; not {limit} and {offset}"
            )
        vector = unit_vectors([query_embedding], self._dimension)[0]
        if filters is not None and filters.extraction_ids == ():
            return []
        last = offset + limit
        asked = last + 1
        while True:
            found = await self._call("search", self._client.query_points, vector, asked, filters)
            ranked = sorted(map(_rounded, found), key=lambda result: (-result.score, result.extraction_id))
            # While the last one asked for is equal to the one beyond it, the engine chose which of them we see.
            if len(found) < asked or ranked[-1].score < ranked[last - 1].score or asked >= _MAX_TIED:
                return ranked[offset:last]
            asked = min(4 * asked, _MAX_TIED)

    async def delete(self, extraction_id: str) -> bool:
        """Delete one point; True when it was there."""
        return await self.delete_batch([extraction_id]) == 1

    async def delete_batch(self, extraction_ids: Sequence[str]) -> int:
        """Delete points; returns how many were there. Ids without a point are ignored, any number will do.

        Raises:
            InvalidItem: an id isn't a UUID; nothing was deleted.
        """
        await self._lane.run(check_ids, extraction_ids)
        deleted = 0
        for ids in slices(extraction_ids, _IDS_A_CALL):
            # Apart, so that a deletion tried again doesn't count what its first try deleted as missing.
            present = await self._call("look up points", self._client.retrieve, ids)
            if present:
                await self._call("delete points", self._client.delete, list(present))
            deleted += len(present)
        return deleted

    async def existing_ids(self, extraction_ids: Sequence[str]) -> set[str]:
        """Which of these ids have a point. Any number will do.

        Raises:
            InvalidItem: an id isn't a UUID.
        """
        await self._lane.run(check_ids, extraction_ids)
        existing: set[str] = set()
        for ids in slices(extraction_ids, _IDS_A_CALL):
            existing |= await self._call("look up points", self._client.retrieve, ids)
        return existing

    async def iter_ids(self, page: int = 1000, filters: Filters | None = None) -> AsyncIterator[list[str]]:
        """The ids of all points, or of those that pass the filters, in ascending order, ``page`` at a time.

        Points stored or deleted meanwhile may or may not be among them; all others are, once.
        """
        start: str | None = None
        while True:
            ids, start = await self._call("list points", self._client.scroll, start, page, filters)
            if ids:
                yield ids
            if start is None:
                return

    async def count(self) -> int:
        """How many points there are, exactly."""
        return await self._call("count points", self._client.count)

    async def optimize(self) -> None:
        """Build the search indexes now. Embedded, this stops the whole process for as long as it takes."""
        try:
            # Without a deadline: it takes minutes, and can't be stopped once it runs.
            await self._lane.run(self._measured, "optimize", self._client.optimize)
        except ClientFailure as failure:
            raise _refused("optimize", failure) from failure

    async def ping(self) -> None:
        """Raise unless Qdrant answers now."""
        await self._call("answer a ping", self._client.ping)

    async def _found(self) -> CollectionInfo | None:
        found = await self._call("look up the collection", self._client.get_collection)
        wanted = CollectionInfo(self._dimension, DISTANCE, indexed=True)
        if found is not None and str(found) != str(wanted):
            raise CollectionMismatch(COLLECTION, str(found), str(wanted))
        return found

    async def _call(self, operation: str, fn: Callable[..., T], *args: object) -> T:
        """Run one request on the lane, and again while its failures are transient and there is time."""
        reason = "no answer"

        async def attempt(left_s: float) -> T:
            nonlocal reason
            try:
                return await self._lane.run(self._measured, operation, fn, *args, timeout_s=left_s)
            except ClientFailure as failure:
                reason = failure.reason
                raise

        try:
            return await retrying(self._retry, attempt, retry_after=_retry_after)
        except ClientFailure as failure:
            raise _refused(operation, failure) from failure
        except (DeadlineExceeded, GaveUp) as error:
            within = f"{reason} (within {self._retry.total_s:g} s)"
            later_s = error.retry_after_s
            raise QdrantUnavailable(operation, COLLECTION, within, retry_after_s=later_s) from error

    def _measured(self, operation: str, fn: Callable[..., T], *args: object) -> T:
        """Runs on the lane's thread, so that a request whose caller has left is measured to its end."""
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


def _refused(operation: str, failure: ClientFailure) -> QdrantError:
    kind = QdrantDiskFull if failure.disk_full else QdrantError
    return kind(operation, COLLECTION, failure.reason)


def _retry_after(error: Exception) -> float | None:
    return error.retry_after_s or 0.0 if isinstance(error, ClientFailure) and error.transient else None


def _rounded(result: SearchResult) -> SearchResult:
    """The engines' float32 arithmetic differs beyond these digits, and so would the order of equal vectors."""
    return SearchResult(result.extraction_id, round(result.score, _SCORE_DIGITS), result.payload)
