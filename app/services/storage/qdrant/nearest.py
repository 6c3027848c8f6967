"""Find the points nearest to a vector, in requests as large as the server takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.domain.filters import Filters
from app.domain.ids import ExtractionId, find_extraction_id
from app.services.storage.qdrant.points import slices
from app.services.storage.qdrant.ports import ClientFailure, Payload, PointQuery, ScoredPoint, VectorClient
from app.services.storage.qdrant.requests import Requests

_MAX_TIED = 40_000
_SCORE_DIGITS = 6
_OF_FILTER = "ids of a filter"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A hit: an extraction's point. ``score`` is the cosine similarity, to six digits.

    ``extraction_id`` equals the id of the row.
    """

    extraction_id: ExtractionId
    score: float
    payload: Payload


class NearestPoints:
    """The points nearest to a vector, in an order that is the same on every engine."""

    def __init__(self, client: VectorClient, requests: Requests) -> None:
        self._client = client
        self._requests = requests

    async def find(
        self,
        vector: NDArray[np.float32],
        limit: int,
        offset: int,
        filters: Filters | None,
        fields: Sequence[str] | None,
    ) -> list[SearchResult]:
        """The points most similar to a unit vector, by descending score, then by id."""
        last = offset + limit
        asked = last + 1
        while True:
            found = await self._query(vector, asked, filters, fields)
            results = [result for point in found if (result := _result(point)) is not None]
            ranked = sorted(results, key=lambda result: (-result.score, result.extraction_id))
            # Among points with the lowest score found, the engine chose arbitrarily. So ask for
            # more until all of those with the last result's score are known.
            lowest = min((round(point.score, _SCORE_DIGITS) for point in found), default=0.0)
            complete = len(ranked) >= last and ranked[last - 1].score > lowest
            if len(found) < asked or complete or asked >= _MAX_TIED:
                return ranked[offset:last]
            asked = min(4 * asked, _MAX_TIED)

    async def _query(
        self, vector: NDArray[np.float32], asked: int, filters: Filters | None, fields: Sequence[str] | None
    ) -> list[ScoredPoint]:
        """The best points, in several requests if the server limits the size of one."""
        found: dict[str, ScoredPoint] = {}
        done = False
        while len(found) < asked and not done:
            ids = () if filters is None else filters.extraction_ids or ()
            if filters is not None and len(ids) > (many := self._requests.size(_OF_FILTER, len(ids))):
                return await self._query_each(slices(ids, many), vector, asked, filters, fields)
            size = self._requests.size("search", asked - len(found))
            wanted = PointQuery(size, filters, fields, offset=len(found))
            try:
                page = await self._requests.tried("search", self._client.query_points, vector, wanted)
            except ClientFailure as failure:
                of_ids = failure.of_filter and self._requests.shrinks(_OF_FILTER, len(ids), failure.most)
                if not of_ids and not self._requests.fits_later("search", size, failure):
                    raise self._requests.refused("search", failure) from failure
                continue
            found |= {point.id: point for point in page}
            done = len(page) < size
        return list(found.values())

    async def _query_each(
        self,
        parts: Iterable[list[UUID | str]],
        vector: NDArray[np.float32],
        asked: int,
        filters: Filters,
        fields: Sequence[str] | None,
    ) -> list[ScoredPoint]:
        """The best points among the results for each part of the ids."""
        found = list[ScoredPoint]()
        for part in parts:
            found += await self._query(vector, asked, replace(filters, extraction_ids=tuple(part)), fields)
        return sorted(found, key=lambda point: -point.score)[:asked]


def _result(point: ScoredPoint) -> SearchResult | None:
    """The hit for a point; None for a point of another program.

    Scores are rounded, because the engines' float32 arithmetic differs in later digits, and so
    would the order of equal vectors.
    """
    extraction_id = find_extraction_id(point.id)
    if extraction_id is None:
        return None
    return SearchResult(extraction_id, round(point.score, _SCORE_DIGITS), point.payload)
