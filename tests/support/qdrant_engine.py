"""The part of Qdrant's REST protocol that the repository uses, over its embedded engine.

:mod:`support.qdrant_stub` and :mod:`support.qdrant_grpc_stub` serve it over a socket.
"""

import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qdrant_edge as edge

Json = Any

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - for speed; each collection has its own folder
FAST_FOLDER = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
"""A folder where creating a collection takes a tenth of the time on disk; None for the default."""

_SCHEMAS = {"keyword": edge.PayloadSchemaType.Keyword, "float": edge.PayloadSchemaType.Float}
_CLUSTER = ("shard_number", "replication_factor", "write_consistency_factor")
_CONFIG = {
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
    "optimizer_config": {
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1000,
        "default_segment_number": 0,
        "flush_interval_sec": 5,
    },
    "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
}
_DONE = {"operation_id": 0, "status": "completed"}
_CANNED = {
    "points": [{"id": "00000000-0000-4000-8000-000000000000", "version": 1, "score": 0.5, "payload": {}}]
}


class Refused(Exception):  # noqa: N818 - a response of the server
    """The server rejects a request, with an HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@dataclass
class Collection:
    shard: edge.EdgeShard
    params: dict[str, Json]
    folder: tempfile.TemporaryDirectory[str]
    schema: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Json] = field(default_factory=dict)


class Engine:
    """The collections of one server. Thread-safe. ``canned`` answers every query the same."""

    def __init__(self, *, canned: bool = False) -> None:
        self._canned = canned
        self._collections: dict[str, Collection] = {}
        self._changing = threading.Lock()
        self.created: list[Json] = []
        """The body of each request that created a collection."""

    def close(self) -> None:
        for name in list(self._collections):
            self._drop(name)

    def answer(self, method: str, path: str, body: Json) -> Json:
        """Return the result of a request.

        Raises:
            Refused: the request is rejected, with the status of a real server.
        """
        try:
            return self._route(method, path.partition("?")[0].strip("/").split("/"), body)
        except Refused:
            raise
        except Exception as error:
            # Errors of the engine are the client's fault.
            raise Refused(400, f"Wrong input: {error}") from error

    def _route(self, method: str, parts: list[str], body: Json) -> Json:  # noqa: PLR0911 - one case a route
        match method, parts:
            case "GET", ["collections", name, "exists"]:
                return {"exists": name in self._collections}
            case "GET", ["collections", name]:
                return _info(self._collection(name))
            case "PUT", ["collections", name]:
                return self._create(name, body)
            case "PATCH", ["collections", name]:
                self._collection(name).metadata |= body["metadata"]
                return True
            case "DELETE", ["collections", name]:
                return self._drop(name)
            case "PUT", ["collections", name, "index"]:
                return _create_index(self._collection(name), body["field_name"], body["field_schema"])
            case "POST", ["collections", _, "points", "query"] if self._canned:
                return _CANNED
            case "PUT" | "POST", ["collections", name, "points", *rest]:
                return _points(self._collection(name).shard, method, "".join(rest), body)
        raise Refused(404, "no such route")

    def _collection(self, name: str) -> Collection:
        if name not in self._collections:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._collections[name]

    def _create(self, name: str, body: Json) -> bool:
        with self._changing:
            if name in self._collections:
                raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
            folder = tempfile.TemporaryDirectory(prefix="qdrant-stub-", dir=FAST_FOLDER)
            self.created.append(body)
            shard = edge.EdgeShard.create(folder.name, edge.EdgeConfig(vectors=_vectors(body["vectors"])))
            params = {"vectors": body["vectors"]} | {
                key: body[key] for key in _CLUSTER if body.get(key) is not None
            }
            metadata = body.get("metadata") or {}
            self._collections[name] = Collection(shard, params, folder, metadata=metadata)
        return True

    def _drop(self, name: str) -> bool:
        with self._changing:
            dropped = self._collections.pop(name, None)
        if dropped is not None:
            dropped.shard.close()
            dropped.folder.cleanup()
        return dropped is not None


def _info(collection: Collection) -> Json:
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 1,
        "points_count": collection.shard.info().points_count,
        "config": {"params": collection.params, "metadata": collection.metadata, **_CONFIG},
        "payload_schema": {
            name: {"data_type": type_, "points": 0} for name, type_ in collection.schema.items()
        },
    }


def _vectors(spec: dict[str, Json]) -> Any:
    if "size" in spec:
        return _vector_params(spec)
    return {name: _vector_params(each) for name, each in spec.items()}


def _vector_params(spec: dict[str, Json]) -> edge.EdgeVectorParams:
    return edge.EdgeVectorParams(size=spec["size"], distance=getattr(edge.Distance, spec["distance"]))


def _create_index(collection: Collection, name: str, schema: str) -> Json:
    collection.shard.update(edge.UpdateOperation.create_field_index(name, _SCHEMAS[schema]))
    collection.schema[name] = schema
    return _DONE


def _points(shard: edge.EdgeShard, method: str, action: str, body: Json) -> Json:  # noqa: PLR0911 - one case a route
    match method, action:
        case "PUT", "":
            shard.update(edge.UpdateOperation.upsert_points(list(_stored(body))))
            return _DONE
        case "POST", "delete":
            shard.update(edge.UpdateOperation.delete_points(body["points"]))
            return _DONE
        case "POST", "":
            found = shard.retrieve(body["ids"], with_payload=body["with_payload"], with_vector=False)
            return [{"id": str(record.id), "payload": record.payload} for record in found]
        case "POST", "batch":
            for operation in body["operations"]:
                _overwrite_payload(shard, operation["overwrite_payload"])
            return [_DONE for _ in body["operations"]]
        case "POST", "query":
            return {"points": _query(shard, body)}
        case "POST", "scroll":
            return _scroll(shard, body)
        case "POST", "count":
            return {"count": shard.count(edge.CountRequest(exact=True))}
    raise Refused(404, "no such route")


def _overwrite_payload(shard: edge.EdgeShard, body: Json) -> None:
    chosen = _filter(body["filter"])
    assert chosen is not None
    shard.update(edge.UpdateOperation.overwrite_payload_by_filter(chosen, body["payload"]))


def _stored(body: Json) -> Iterator[edge.Point]:
    if "batch" in body:
        batch = body["batch"]
        for point in zip(batch["ids"], batch["vectors"], batch["payloads"], strict=True):
            yield edge.Point(*point)
    for point in body.get("points", ()):
        yield edge.Point(point["id"], point["vector"], point.get("payload"))


def _query(shard: edge.EdgeShard, body: Json) -> Json:
    query = body["query"]
    vector = query["nearest"] if isinstance(query, dict) else query
    request = edge.QueryRequest(
        body["limit"],
        offset=body.get("offset"),
        query=edge.Query.Nearest(vector),
        with_payload=True,
        filter=_filter(body.get("filter")),
    )
    return [
        {"id": str(point.id), "version": point.version, "score": point.score, "payload": point.payload}
        for point in shard.query(request)
    ]


def _scroll(shard: edge.EdgeShard, body: Json) -> Json:
    request = edge.ScrollRequest(
        offset=body.get("offset"),
        limit=body["limit"],
        filter=_filter(body.get("filter")),
        with_payload=body.get("with_payload", False),
        with_vector=False,
    )
    records, following = shard.scroll(request)
    return {
        "points": [{"id": str(record.id), "payload": record.payload} for record in records],
        "next_page_offset": None if following is None else str(following),
    }


def _filter(spec: Json) -> edge.Filter | None:
    return None if spec is None else edge.Filter(must=[_condition(condition) for condition in spec["must"]])


def _condition(spec: Json) -> Any:
    if "has_id" in spec:
        return edge.HasIdCondition(set(spec["has_id"]))
    if "range" in spec:
        bounds = {name: bound for name, bound in spec["range"].items() if bound is not None}
        return edge.FieldCondition(spec["key"], range=edge.RangeFloat(**bounds))
    return edge.FieldCondition(spec["key"], match=edge.MatchAny(spec["match"]["any"]))
