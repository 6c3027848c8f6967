"""The part of Qdrant's gRPC protocol that the repository uses, with faults on request.

In a test: ``with QdrantGrpcStub() as stub: ... stub.port``. Each call consumes one of
``stub.faults``.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

import grpc
from qdrant_client import grpc as pb
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from support.qdrant_engine import Engine, Json, Refused

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
}
_SCHEMAS = {pb.FieldType.FieldTypeKeyword: "keyword", pb.FieldType.FieldTypeFloat: "float"}
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
"""As in a real Qdrant server, which accepts messages of any size."""


@dataclass(frozen=True, slots=True)
class GrpcFault:
    """A fault of one call.

    ``code`` is the status that the call ends with; ``after_effect`` carries it out first;
    ``delay_s`` delays the answer.
    """

    code: str | None = None
    retry_after: str | None = None
    after_effect: bool = False
    delay_s: float = 0.0


@dataclass
class QdrantGrpcStub:
    """A server on a free port of the loopback, over a new engine or that of a REST stub."""

    engine: Engine = field(default_factory=Engine)
    credentials: grpc.ServerCredentials | None = None
    faults: deque[GrpcFault] = field(default_factory=deque)
    requests: list[tuple[str, int]] = field(default_factory=list)
    """The name and the size of each call."""
    waited: list[bool] = field(default_factory=list)
    """For each write, whether it asked to be acknowledged only after it is done."""
    api_keys: set[str] = field(default_factory=set)
    peers: set[str] = field(default_factory=set)
    """The connections of the calls."""
    port: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.engine.close()

    def start(self) -> None:
        """Listen, on the same port as before, if any."""
        self._threads = ThreadPoolExecutor(32, "qdrant-grpc-stub")
        self._server = grpc.server(self._threads, options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            [self._handlers("qdrant.Points", _POINTS), self._handlers("qdrant.Collections", _COLLECTIONS)]
        )
        address = f"127.0.0.1:{self.port}"
        self.port = (
            self._server.add_insecure_port(address)
            if self.credentials is None
            else self._server.add_secure_port(address, self.credentials)
        )
        self._server.start()

    def stop(self) -> None:
        """Close all connections, and refuse new ones."""
        self._server.stop(0).wait()
        self._threads.shutdown()

    def _handlers(self, service: str, calls: "Mapping[str, _Call]") -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            service,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._serve(name, call),
                    request_deserializer=call.request.FromString,
                    response_serializer=call.response.SerializeToString,
                )
                for name, call in calls.items()
            },
        )

    def _serve(self, name: str, call: "_Call") -> Callable[[Any, grpc.ServicerContext], Any]:
        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            self._note(name, request, context)
            fault = self.faults.popleft() if self.faults else GrpcFault()
            time.sleep(fault.delay_s)
            if fault.code is not None and not fault.after_effect:
                _end(context, fault)
            answer = self._answer(call, request, context)
            if fault.code is not None:
                _end(context, fault)
            return answer

        return serve

    def _answer(self, call: "_Call", request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return call.response(**call.answer(self.engine, request))
        except Refused as refused:
            context.abort(_CODES[refused.status], str(refused))

    def _note(self, name: str, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append((name, request.ByteSize()))
        self.peers.add(context.peer())
        self.api_keys |= {value for key, value in context.invocation_metadata() if key == "api-key"}
        if "wait" in request.DESCRIPTOR.fields_by_name:
            self.waited.append(request.wait)


def _end(context: grpc.ServicerContext, fault: GrpcFault) -> NoReturn:
    if fault.retry_after is not None:
        context.set_trailing_metadata([("retry-after", fault.retry_after)])
    context.abort(grpc.StatusCode[str(fault.code)], "a fault was ordered")
    raise AssertionError  # abort() raises


# --- what each call is in the REST protocol -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    request: Any
    response: Any
    answer: Callable[[Engine, Any], dict[str, Any]]


def _path(request: Any, rest: str = "") -> str:
    return f"collections/{request.collection_name}{rest}"


def _filter(request: Any) -> Json:
    if not request.HasField("filter"):
        return None
    return GrpcToRest.convert_filter(request.filter).model_dump(mode="json", exclude_none=True)


def _record(record: Json) -> Any:
    payload = RestToGrpc.convert_payload(record.get("payload") or {})
    return pb.RetrievedPoint(id=RestToGrpc.convert_extended_point_id(record["id"]), payload=payload)


def _update(result: Json) -> dict[str, Any]:
    return {"result": RestToGrpc.convert_update_result(models.UpdateResult(**result))}


def _upsert(engine: Engine, request: Any) -> dict[str, Any]:
    points = [GrpcToRest.convert_point_struct(point).model_dump() for point in request.points]
    return _update(engine.answer("PUT", _path(request, "/points"), {"points": points}))


def _delete(engine: Engine, request: Any) -> dict[str, Any]:
    ids = [GrpcToRest.convert_point_id(point) for point in request.points.points.ids]
    return _update(engine.answer("POST", _path(request, "/points/delete"), {"points": ids}))


def _get(engine: Engine, request: Any) -> dict[str, Any]:
    ids = [GrpcToRest.convert_point_id(point) for point in request.ids]
    body = {"ids": ids, "with_payload": request.with_payload.enable}
    found = engine.answer("POST", _path(request, "/points"), body)
    return {"result": [_record(record) for record in found]}


def _batch(engine: Engine, request: Any) -> dict[str, Any]:
    operations = [_overwriting(each.overwrite_payload) for each in request.operations]
    done = engine.answer("POST", _path(request, "/points/batch"), {"operations": operations})
    return {"result": [RestToGrpc.convert_update_result(models.UpdateResult(**each)) for each in done]}


def _overwriting(operation: Any) -> Json:
    chosen = GrpcToRest.convert_filter(operation.points_selector.filter).model_dump(
        mode="json", exclude_none=True
    )
    payload = GrpcToRest.convert_payload(operation.payload)
    return {"overwrite_payload": {"filter": chosen, "payload": payload}}


def _query(engine: Engine, request: Any) -> dict[str, Any]:
    vector = list(request.query.nearest.dense.data)
    body = {"query": vector, "limit": request.limit, "offset": request.offset, "filter": _filter(request)}
    found = engine.answer("POST", _path(request, "/points/query"), body)["points"]
    return {"result": [RestToGrpc.convert_scored_point(models.ScoredPoint(**point)) for point in found]}


def _scroll(engine: Engine, request: Any) -> dict[str, Any]:
    offset = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
    body = {
        "offset": offset,
        "limit": request.limit,
        "filter": _filter(request),
        "with_payload": request.with_payload.enable,
    }
    page = engine.answer("POST", _path(request, "/points/scroll"), body)
    points = [_record(record) for record in page["points"]]
    if page["next_page_offset"] is None:
        return {"result": points}
    return {
        "result": points,
        "next_page_offset": RestToGrpc.convert_extended_point_id(page["next_page_offset"]),
    }


def _count(engine: Engine, request: Any) -> dict[str, Any]:
    return {"result": pb.CountResult(**engine.answer("POST", _path(request, "/points/count"), {}))}


def _index(engine: Engine, request: Any) -> dict[str, Any]:
    body = {"field_name": request.field_name, "field_schema": _SCHEMAS[request.field_type]}
    return _update(engine.answer("PUT", _path(request, "/index"), body))


def _exists(engine: Engine, request: Any) -> dict[str, Any]:
    return {"result": pb.CollectionExists(**engine.answer("GET", _path(request, "/exists"), {}))}


def _info(engine: Engine, request: Any) -> dict[str, Any]:
    info = models.CollectionInfo(**engine.answer("GET", _path(request), {}))
    return {"result": RestToGrpc.convert_collection_info(info)}


def _create(engine: Engine, request: Any) -> dict[str, Any]:
    vectors = models.CreateCollection(vectors=GrpcToRest.convert_vectors_config(request.vectors_config))
    body = vectors.model_dump(mode="json", exclude_none=True)
    for key in ("shard_number", "replication_factor", "write_consistency_factor"):
        if request.HasField(key):
            body[key] = getattr(request, key)
    body["metadata"] = GrpcToRest.convert_payload(request.metadata)
    return {"result": engine.answer("PUT", _path(request), body)}


def _change(engine: Engine, request: Any) -> dict[str, Any]:
    metadata = GrpcToRest.convert_payload(request.metadata)
    return {"result": engine.answer("PATCH", _path(request), {"metadata": metadata})}


def _drop(engine: Engine, request: Any) -> dict[str, Any]:
    return {"result": engine.answer("DELETE", _path(request), {})}


_POINTS = {
    "Upsert": _Call(pb.UpsertPoints, pb.PointsOperationResponse, _upsert),
    "Delete": _Call(pb.DeletePoints, pb.PointsOperationResponse, _delete),
    "Get": _Call(pb.GetPoints, pb.GetResponse, _get),
    "UpdateBatch": _Call(pb.UpdateBatchPoints, pb.UpdateBatchResponse, _batch),
    "Query": _Call(pb.QueryPoints, pb.QueryResponse, _query),
    "Scroll": _Call(pb.ScrollPoints, pb.ScrollResponse, _scroll),
    "Count": _Call(pb.CountPoints, pb.CountResponse, _count),
    "CreateFieldIndex": _Call(pb.CreateFieldIndexCollection, pb.PointsOperationResponse, _index),
}
_COLLECTIONS = {
    "CollectionExists": _Call(pb.CollectionExistsRequest, pb.CollectionExistsResponse, _exists),
    "Get": _Call(pb.GetCollectionInfoRequest, pb.GetCollectionInfoResponse, _info),
    "Create": _Call(pb.CreateCollection, pb.CollectionOperationResponse, _create),
    "Update": _Call(pb.UpdateCollection, pb.CollectionOperationResponse, _change),
    "Delete": _Call(pb.DeleteCollection, pb.CollectionOperationResponse, _drop),
}
