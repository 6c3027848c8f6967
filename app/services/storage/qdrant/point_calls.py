"""The frequent requests, about points, without a model of each point.

``qdrant_client`` validates each point of an answer with a model, which takes longer than the search
on the server. So these requests go through the client's connection in the protocol's own form, with
a class for HTTP and one for gRPC. A third class uses the client's models, because its imitation of
a server takes nothing else.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import grpc_to_payload, payload_to_grpc

from app.domain.filters import Filters
from app.services.storage.qdrant.filters import grpc_filter, rest_filter
from app.services.storage.qdrant.ports import Payload, PointQuery, ScoredPoint

Vectors = NDArray[np.float32]


class PointCalls(Protocol):
    """Requests to one collection, as in :class:`VectorClient`; they raise the client's errors."""

    name: str
    """The protocol; empty if the client chooses it."""

    def upsert(
        self, client: QdrantClient, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Payload]
    ) -> None:
        """Store points."""

    def query(self, client: QdrantClient, vector: Vectors, query: PointQuery) -> list[ScoredPoint]:
        """The points that match the query."""

    def retrieve(self, client: QdrantClient, ids: Sequence[str], *, payloads: bool) -> dict[str, Payload]:
        """The payloads of the points that exist, by id."""

    def scroll(
        self,
        client: QdrantClient,
        start: str | None,
        limit: int,
        filters: Filters | None,
        *,
        payloads: bool,
    ) -> tuple[dict[str, Payload], str | None]:
        """A page of points by id, and the start of the next page."""


class CallsByHttp:
    """Sends JSON over HTTP."""

    name = "REST"

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def upsert(
        self, client: QdrantClient, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Payload]
    ) -> None:
        """See :class:`PointCalls`."""
        batch = {"ids": ids, "vectors": vectors, "payloads": payloads}
        self._request(client, "PUT", "", {"batch": batch}, {"wait": "true"})

    def query(self, client: QdrantClient, vector: Vectors, query: PointQuery) -> list[ScoredPoint]:
        """See :class:`PointCalls`."""
        body = {
            "query": vector,
            "filter": rest_filter(query.filters),
            "limit": query.limit,
            "offset": query.offset,
            "with_payload": _all_if_none(query.fields),
        }
        found = self._request(client, "POST", "/query", body)["points"]
        return [
            ScoredPoint(str(point["id"]), float(point["score"]), point.get("payload") or {}) for point in found
        ]

    def retrieve(self, client: QdrantClient, ids: Sequence[str], *, payloads: bool) -> dict[str, Payload]:
        """See :class:`PointCalls`."""
        body = {"ids": [as_sent(id_) for id_ in ids], "with_payload": payloads, "with_vector": False}
        found = self._request(client, "POST", "", body)
        return {str(record["id"]): record.get("payload") or {} for record in found}

    def scroll(
        self,
        client: QdrantClient,
        start: str | None,
        limit: int,
        filters: Filters | None,
        *,
        payloads: bool,
    ) -> tuple[dict[str, Payload], str | None]:
        """See :class:`PointCalls`."""
        body = {
            "filter": rest_filter(filters),
            "offset": None if start is None else as_sent(start),
            "limit": limit,
            "with_payload": payloads,
            "with_vector": False,
        }
        found = self._request(client, "POST", "/scroll", body)
        following = found["next_page_offset"]
        points = {str(record["id"]): record.get("payload") or {} for record in found["points"]}
        return points, None if following is None else str(following)

    def _request(
        self, client: QdrantClient, method: str, path: str, body: object, params: dict[str, str] | None = None
    ) -> Any:  # noqa: ANN401 - JSON
        answer = client.http.client.request(
            type_=dict[str, Any],
            method=method,
            url="/collections/{collection_name}/points" + path,
            path_params={"collection_name": self._collection},
            params=params or {},
            headers={"Content-Type": "application/json"},
            content=orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY),
        )
        return answer["result"]


class CallsByGrpc:
    """Sends gRPC messages. Each call may take ``timeout_s``."""

    name = "gRPC"

    def __init__(self, collection: str, timeout_s: float) -> None:
        self._collection = collection
        self._timeout_s = timeout_s

    def upsert(
        self, client: QdrantClient, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Payload]
    ) -> None:
        """See :class:`PointCalls`."""
        points = [
            grpc.PointStruct(
                id=_point_id(id_),
                vectors=grpc.Vectors(vector=grpc.Vector(dense=grpc.DenseVector(data=vector))),
                payload=payload_to_grpc(payload),
            )
            for id_, vector, payload in zip(ids, vectors.tolist(), payloads, strict=True)
        ]
        request = grpc.UpsertPoints(collection_name=self._collection, wait=True, points=points)
        client.grpc_points.Upsert(request, timeout=self._timeout_s)

    def query(self, client: QdrantClient, vector: Vectors, query: PointQuery) -> list[ScoredPoint]:
        """See :class:`PointCalls`."""
        request = grpc.QueryPoints(
            collection_name=self._collection,
            query=grpc.Query(nearest=grpc.VectorInput(dense=grpc.DenseVector(data=vector.tolist()))),
            filter=grpc_filter(query.filters),
            limit=query.limit,
            offset=query.offset,
            with_payload=_selector(query.fields),
        )
        found = client.grpc_points.Query(request, timeout=self._timeout_s).result
        return [ScoredPoint(_text(point.id), point.score, grpc_to_payload(point.payload)) for point in found]

    def retrieve(self, client: QdrantClient, ids: Sequence[str], *, payloads: bool) -> dict[str, Payload]:
        """See :class:`PointCalls`."""
        request = grpc.GetPoints(
            collection_name=self._collection,
            ids=[_point_id(id_) for id_ in ids],
            with_payload=grpc.WithPayloadSelector(enable=payloads),
            with_vectors=grpc.WithVectorsSelector(enable=False),
        )
        found = client.grpc_points.Get(request, timeout=self._timeout_s).result
        return {_text(record.id): grpc_to_payload(record.payload) for record in found}

    def scroll(
        self,
        client: QdrantClient,
        start: str | None,
        limit: int,
        filters: Filters | None,
        *,
        payloads: bool,
    ) -> tuple[dict[str, Payload], str | None]:
        """See :class:`PointCalls`."""
        request = grpc.ScrollPoints(
            collection_name=self._collection,
            filter=grpc_filter(filters),
            offset=None if start is None else _point_id(start),
            limit=limit,
            with_payload=grpc.WithPayloadSelector(enable=payloads),
            with_vectors=grpc.WithVectorsSelector(enable=False),
        )
        found = client.grpc_points.Scroll(request, timeout=self._timeout_s)
        following = _text(found.next_page_offset) if found.HasField("next_page_offset") else None
        return {_text(record.id): grpc_to_payload(record.payload) for record in found.result}, following


class CallsByModels:
    """Sends the client's models, which every ``QdrantClient`` takes, the imitation too."""

    name = ""

    def __init__(self, collection: str) -> None:
        self._collection = collection

    def upsert(
        self, client: QdrantClient, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Payload]
    ) -> None:
        """See :class:`PointCalls`."""
        points = models.Batch.model_construct(ids=list(ids), vectors=vectors.tolist(), payloads=list(payloads))
        client.upsert(self._collection, points, wait=True)

    def query(self, client: QdrantClient, vector: Vectors, query: PointQuery) -> list[ScoredPoint]:
        """See :class:`PointCalls`."""
        found = client.query_points(
            self._collection,
            vector.tolist(),
            query_filter=_modelled(query.filters),
            limit=query.limit,
            offset=query.offset,
            with_payload=_all_if_none(query.fields),
        )
        return [ScoredPoint(str(point.id), point.score, point.payload or {}) for point in found.points]

    def retrieve(self, client: QdrantClient, ids: Sequence[str], *, payloads: bool) -> dict[str, Payload]:
        """See :class:`PointCalls`."""
        wanted = [as_sent(id_) for id_ in ids]
        found = client.retrieve(self._collection, wanted, with_payload=payloads, with_vectors=False)
        return {str(record.id): record.payload or {} for record in found}

    def scroll(
        self,
        client: QdrantClient,
        start: str | None,
        limit: int,
        filters: Filters | None,
        *,
        payloads: bool,
    ) -> tuple[dict[str, Payload], str | None]:
        """See :class:`PointCalls`."""
        records, following = client.scroll(
            self._collection,
            scroll_filter=_modelled(filters),
            limit=limit,
            offset=None if start is None else as_sent(start),
            with_payload=payloads,
            with_vectors=False,
        )
        points = {str(record.id): record.payload or {} for record in records}
        return points, None if following is None else str(following)


def as_sent(point_id: str) -> models.ExtendedPointId:
    """Convert a number's text to a number, as in ids of other programs' points.

    A server takes the text for a malformed UUID.
    """
    return int(point_id) if point_id.isdecimal() else point_id


def _all_if_none(fields: Sequence[str] | None) -> Literal[True] | list[str]:
    return True if fields is None else list(fields)


def _selector(fields: Sequence[str] | None) -> grpc.WithPayloadSelector:
    if fields is None:
        return grpc.WithPayloadSelector(enable=True)
    return grpc.WithPayloadSelector(include=grpc.PayloadIncludeSelector(fields=fields))


def _point_id(point_id: str) -> grpc.PointId:
    return grpc.PointId(num=int(point_id)) if point_id.isdecimal() else grpc.PointId(uuid=point_id)


def _text(point_id: grpc.PointId) -> str:
    return point_id.uuid or str(point_id.num)


def _modelled(filters: Filters | None) -> models.Filter | None:
    spelled = rest_filter(filters)
    return None if spelled is None else models.Filter.model_validate(spelled)
