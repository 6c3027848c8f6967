"""The vectors of extractions, for code on the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID

from numpy.typing import ArrayLike

from app.domain.filters import Filters, filters_of
from app.domain.ids import ExtractionId, find_extraction_id
from app.errors import (
    CollectionMismatch,
    InvalidInput,
    QdrantError,
)
from app.executor import Lane
from app.retry import RetryPolicy
from app.services.storage.qdrant.nearest import NearestPoints, SearchResult
from app.services.storage.qdrant.points import (
    EmbeddingItem,
    PointBatch,
    check_ids,
    checked_batches,
    grouped,
    slices,
    unit_vectors,
)
from app.services.storage.qdrant.ports import (
    COLLECTION,
    DISTANCE,
    ClientFailure,
    CollectionInfo,
    Payload,
    VectorClient,
)
from app.services.storage.qdrant.requests import RequestInstruments, Requests

__all__ = ["EmbeddingItem", "QdrantRepository", "SearchResult"]

MAX_POINTS = 10_000
MAX_OFFSET = 10_000
_IDS_A_CALL = 500
_PAYLOADS_A_CALL = 100
_TOGETHER = 2
"""How many lookups of payloads run at once."""

T = TypeVar("T")
Id = TypeVar("Id", bound=UUID | str)
_Page = tuple[dict[str, Payload], str | None]


class QdrantRepository:
    """One collection, with a cosine vector of ``dimension`` for each extraction, under its id.

    Ids are UUIDs or their text, in lower case with hyphens. Extraction ids are returned as UUIDs,
    equal to their rows' ids; only an upsert returns the point's ID, the text that a row's
    ``embedding_id`` holds. Points of other programs, whose IDs aren't UUIDs, are never among the
    results.

    Every call of the client runs on ``lane``. Transient failures are retried according to
    ``retry``. Its total counts from the request, including the wait for the lane; in a call with
    several requests, it counts for each. All methods raise QdrantUnavailable when the total runs
    out, QdrantError at once for other failures, and Saturated when the lane is full.
    """

    def __init__(  # noqa: PLR0913 - each is a separate part or setting
        self,
        client: VectorClient,
        lane: Lane,
        *,
        dimension: int,
        collection: str = COLLECTION,
        retry: RetryPolicy | None = None,
        batch_size: int | None = None,
        instruments: RequestInstruments | None = None,
    ) -> None:
        """``collection`` must be the name that ``client`` uses.

        ``batch_size`` is the most points that an upsert sends; with None, the client decides.
        """
        self.collection = collection
        self._client = client
        self._lane = lane
        self._dimension = dimension
        self._batch_size = batch_size or client.batch_size(dimension)
        self._requests = Requests(lane, collection, retry or RetryPolicy(total_s=30.0), instruments)
        self._nearest = NearestPoints(client, self._requests)

    @property
    def trouble(self) -> str | None:
        """Why Qdrant's last request failed, while it is tried again."""
        return self._requests.trouble

    @property
    def protocol(self) -> str:
        """The protocol, REST or gRPC; empty before the first request, and without a server."""
        return str(getattr(self._client, "protocol", ""))

    async def init_collection(self, owner: str | None = None) -> None:
        """Create the collection, for the store ``owner``, and its payload indexes, if missing.

        Raises:
            CollectionMismatch: it exists with another size or distance; it isn't altered.
        """
        found = await self.find_collection()
        if found is None or not found.indexed:
            create = self._client.create_collection
            await self._requests.call("create the collection", create, self._dimension, owner)
            # Another process may have created it in the meantime, for another embedder.
            await self.find_collection()

    async def find_collection(self) -> CollectionInfo | None:
        """The collection's state; None if there is none.

        Raises:
            CollectionMismatch: it exists with another size or distance.
        """
        found = await self.look_at_collection()
        if found is not None and (found.dimension, found.distance) != (self._dimension, DISTANCE):
            wanted = CollectionInfo(self._dimension, DISTANCE, indexed=True)
            raise CollectionMismatch(self.collection, str(found), str(wanted))
        return found

    async def look_at_collection(self) -> CollectionInfo | None:
        """Like :meth:`find_collection`, for a collection of any size and distance."""
        return await self._requests.call("look up the collection", self._client.get_collection)

    async def set_owner(self, owner: str) -> None:
        """Set the store that owns the collection, replacing any other owner."""
        await self._requests.call("take the collection over", self._client.set_owner, owner)

    async def is_empty(self) -> bool:
        """Whether there is no collection, or no point in it; its dimension doesn't matter."""
        return await self.look_at_collection() is None or await self.count() == 0

    async def drop_collection(self) -> None:
        """Drop the collection with all its points, if there is one."""
        await self._requests.call("drop the collection", self._client.delete_collection)

    async def upsert(self, extraction_id: UUID | str, embedding: ArrayLike, payload: Payload) -> str:
        """Store or replace one vector; return the point's ID, once Qdrant has acknowledged it.

        The ID is ``str(extraction_id)``.
        """
        [acknowledged] = await self.upsert_batch([EmbeddingItem(extraction_id, embedding, payload)])
        return acknowledged

    async def upsert_batch(self, items: Sequence[EmbeddingItem]) -> list[str]:
        """Store or replace vectors; return the points' IDs in order, once all are acknowledged.

        All items are checked before anything is sent. After a failure or a cancellation half-way,
        the first ones are stored; storing them again is idempotent.

        Raises:
            InvalidVector, InvalidItem: the item at this index can't be stored; nothing was sent.
            InvalidInput: it is a single item, not a list.
        """
        acknowledged: list[str] = []
        checking = self._lane.run(checked_batches, items, self._dimension, self._batch_size)
        for batch in await checking:

            def upsert(some: range, batch: PointBatch = batch) -> None:
                part = slice(some.start, some.stop)
                self._client.upsert(batch.ids[part], batch.vectors[part], batch.payloads[part])

            await self._requests.in_parts("upsert points", range(len(batch.ids)), upsert)
            acknowledged += batch.ids
        return acknowledged

    async def search(
        self,
        query_embedding: ArrayLike,
        limit: int = 10,
        filters: Filters | Mapping[str, object] | None = None,
        offset: int = 0,
        fields: Sequence[str] | None = None,
    ) -> list[SearchResult]:
        """The points most similar to a vector, by descending score, then by id.

        ``filters`` is a :class:`Filters`, or a mapping with some of its fields: ``{"project_id":
        id_}``. The payloads have at least these ``fields``, which takes less time than all of them.

        Raises:
            InvalidInput: ``limit`` isn't in 1..10,000, ``offset`` isn't in 0..10,000, or a filter
                doesn't exist.
            InvalidVector: the vector has the wrong dimension, isn't finite in float32, or is zero.
        """
        if not _is_within(limit, 1, MAX_POINTS) or not _is_within(offset, 0, MAX_OFFSET):
            raise InvalidInput(
                f"limit must be 1 to {MAX_POINTS} and offset 0 to {MAX_OFFSET}, not {limit!r:.60} and {offset!r:.60}"
            )
        vector = unit_vectors([query_embedding], self._dimension)[0]
        wanted = filters_of(filters)
        if wanted is not None and wanted.extraction_ids == ():
            return []
        return await self._nearest.find(vector, limit, offset, wanted, fields)

    async def delete(self, extraction_id: UUID | str) -> bool:
        """Delete one point; return whether it existed."""
        return await self.delete_batch([extraction_id]) == 1

    async def delete_batch(self, extraction_ids: Collection[UUID | str]) -> int:
        """Delete any number of points; return how many existed. Other ids are ignored.

        Raises:
            InvalidItem: an id isn't a UUID; nothing was deleted.
            InvalidInput: it is a single id, not a list.
        """
        await self._lane.run(check_ids, extraction_ids)
        deleted = 0
        for some in slices(extraction_ids, _IDS_A_CALL):
            ids = list(map(str, some))
            # A separate request, so that a deletion that is retried also counts the points that
            # its first attempt deleted.
            present = await self._requests.call("look up points", self._client.retrieve, ids)
            await self._requests.in_parts("delete points", list(present), self._client.delete)
            deleted += len(present)
        return deleted

    async def existing_ids(self, extraction_ids: Collection[UUID | str]) -> set[ExtractionId]:
        """The ids that have a point, of any number.

        Raises:
            InvalidItem: an id isn't a UUID.
        """
        await self._lane.run(check_ids, extraction_ids)
        existing: set[ExtractionId] = set()
        for some in slices(extraction_ids, _IDS_A_CALL):
            found = await self._requests.call("look up points", self._client.retrieve, list(map(str, some)))
            existing |= _by_extraction(found).keys()
        return existing

    async def payloads(self, extraction_ids: Collection[UUID | str]) -> dict[ExtractionId, Payload]:
        """The payloads by id, for the ids that have a point, of any number.

        Raises:
            InvalidItem: an id isn't a UUID.
        """
        await self._lane.run(check_ids, extraction_ids)
        payloads: dict[ExtractionId, Payload] = {}
        with_payloads = partial(self._client.retrieve, payloads=True)
        for some in slices(extraction_ids, _TOGETHER * _IDS_A_CALL):
            asked = (
                self._requests.call("look up points", with_payloads, list(map(str, each)))
                for each in slices(some, _IDS_A_CALL)
            )
            for found in await asyncio.gather(*asked):
                payloads |= _by_extraction(found)
        return payloads

    async def set_payloads(self, payloads: Mapping[Id, Payload]) -> None:
        """Replace the payloads of these points; ids without a point are ignored.

        Raises:
            InvalidItem: an id isn't a UUID; nothing was sent.
        """
        groups = await self._lane.run(grouped, payloads, _IDS_A_CALL)
        for some in slices(groups, _PAYLOADS_A_CALL):
            await self._requests.in_parts("set payloads", some, self._client.set_payloads)

    async def iter_ids(
        self, page: int = 1000, filters: Filters | Mapping[str, object] | None = None
    ) -> AsyncIterator[list[ExtractionId]]:
        """Yield the ids of all points that pass the filters, ascending, ``page`` at a time.

        Points that are stored or deleted meanwhile may be missing; all others come exactly once.

        Raises:
            QdrantError: a point's ID isn't an extraction's; :meth:`iter_point_ids` yields those
                too.
        """
        async for points in self.iter_point_ids(page, filters):
            yield [self._extraction_of(point) for point in points]

    async def iter_point_ids(
        self, page: int = 1000, filters: Filters | Mapping[str, object] | None = None
    ) -> AsyncIterator[list[str]]:
        """Like :meth:`iter_ids`, but yield IDs as text, including those of other programs."""
        async for points in self._iter_points(self._client.scroll, page, filters):
            yield list(points)

    async def iter_payloads(
        self, page: int = 1000, filters: Filters | Mapping[str, object] | None = None
    ) -> AsyncIterator[dict[str, Payload]]:
        """Like :meth:`iter_ids`, with the points' payloads; the ids are the UUIDs' text.

        Raises:
            QdrantError: a point's ID isn't an extraction's.
        """
        async for points in self._iter_points(partial(self._client.scroll, payloads=True), page, filters):
            for foreign in filter(str.isdecimal, points):
                self._extraction_of(foreign)
            yield points

    async def _iter_points(
        self, scroll: Callable[..., _Page], page: int, filters: Filters | Mapping[str, object] | None
    ) -> AsyncIterator[dict[str, Payload]]:
        start: str | None = None
        wanted = filters_of(filters)
        while True:
            size = self._requests.size("list points", page)
            try:
                points, start = await self._requests.tried("list points", scroll, start, size, wanted)
            except ClientFailure as failure:
                if not self._requests.fits_later("list points", size, failure):
                    raise self._requests.refused("list points", failure) from failure
                continue
            if points:
                yield points
            if start is None:
                return

    async def count(self) -> int:
        """The exact number of points."""
        return await self._requests.call("count points", self._client.count)

    async def optimize(self) -> None:
        """Build the search indexes now. Embedded, this blocks the whole process meanwhile."""
        try:
            # No deadline: it takes minutes, and can't be stopped once it runs.
            await self._lane.run(self._requests.measured, "optimize", self._client.optimize)
        except ClientFailure as failure:
            raise self._requests.refused("optimize", failure) from failure

    async def ping(self) -> None:
        """Raise unless Qdrant answers now."""
        await self._requests.call("answer a ping", self._client.ping)

    def _extraction_of(self, point: str) -> ExtractionId:
        if (found := find_extraction_id(point)) is None:
            reason = f"it has the point {point}, whose ID isn't an extraction's; keep other points in another collection"
            raise QdrantError("list the extractions", self.collection, reason)
        return found


def _by_extraction(payloads: Mapping[str, Payload]) -> dict[ExtractionId, Payload]:
    """The payloads by extraction id; all of them must be of extractions."""
    return {ExtractionId(UUID(point)): payload for point, payload in payloads.items()}


def _is_within(number: object, least: int, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and least <= number <= most
