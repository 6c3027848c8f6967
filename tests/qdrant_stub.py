"""The part of Qdrant's REST protocol that the repository uses, over the same engine, with faults to order.

In a test: ``with QdrantStub() as stub: ... stub.url``; ``stub.faults`` is consumed one fault a request. As a
program, ``python qdrant_stub.py --delay 0.02 --canned`` prints its URL and serves until its stdin is closed.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import qdrant_edge as edge

Json = Any

_SCHEMAS = {"keyword": edge.PayloadSchemaType.Keyword, "float": edge.PayloadSchemaType.Float}
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
_ORDERED = {"status": {"error": "a fault was ordered"}}
_CANNED = {
    "points": [{"id": "00000000-0000-4000-8000-000000000000", "version": 1, "score": 0.5, "payload": {}}]
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request instead of an answer.

    ``status`` answers it with that; ``cut`` closes the connection after that many bytes of the answer (with
    a reset when ``reset``); ``after_effect`` carries the request out before it is cut; ``delay_s`` answers late.
    """

    status: int | None = None
    retry_after: str | None = None
    cut: int | None = None
    reset: bool = False
    after_effect: bool = False
    delay_s: float = 0.0


class StubError(Exception):
    """A request the server refuses."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@dataclass
class Collection:
    shard: edge.EdgeShard
    vectors: dict[str, Json]
    folder: tempfile.TemporaryDirectory[str]


@dataclass
class QdrantStub:
    delay_s: float = 0.0
    canned: bool = False
    """Answer every query alike, so that a benchmark measures the client."""
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault = field(default_factory=Fault)
    """What happens to every request for which there is none in ``faults``."""
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    """Method, path and body size of each request served."""
    url: str = ""
    api_keys: set[str] = field(default_factory=set)
    connections: int = 0

    def __post_init__(self) -> None:
        self._collections: dict[str, Collection] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="qdrant-stub")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        for name in list(self._collections):
            self._drop(name)

    def drop_connections(self) -> None:
        """Close what is open, as a server that restarts does."""
        for writer in list(self._writers):
            self._loop.call_soon_threadsafe(writer.close)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # The client is gone, or the test is over.
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; False when the connection is to be closed."""
        method, path, headers, body = await _read_request(reader)
        self.requests.append((method, path, len(body)))
        if "api-key" in headers:
            self.api_keys.add(headers["api-key"])
        fault = self.faults.popleft() if self.faults else self.always
        if delay_s := fault.delay_s + self.delay_s:
            await asyncio.sleep(delay_s)
        status, answer = fault.status or 200, _ORDERED
        if fault.after_effect or (fault.status is None and fault.cut is None):
            status, answer = self._answer(method, path, body)
        if fault.cut is not None:
            _cut(writer, fault)
            return False
        keep = headers.get("connection") != "close"
        writer.write(_response(status, json.dumps(answer).encode(), keep=keep, retry_after=fault.retry_after))
        await writer.drain()
        return keep

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, Json]:
        try:
            result = self._route(
                method, path.partition("?")[0].strip("/").split("/"), json.loads(body or b"{}")
            )
        except StubError as error:
            return error.status, {"status": {"error": str(error)}, "time": 0.0}
        except Exception as error:  # noqa: BLE001 - whatever the engine refuses is the client's fault
            return 400, {"status": {"error": f"Wrong input: {error}"}, "time": 0.0}
        return 200, {"result": result, "status": "ok", "time": 0.0}

    def _route(self, method: str, parts: list[str], body: Json) -> Json:  # noqa: PLR0911 - one case a route
        match method, parts:
            case "GET", ["collections", name, "exists"]:
                return {"exists": name in self._collections}
            case "GET", ["collections", name]:
                return self._info(self._collection(name))
            case "PUT", ["collections", name]:
                return self._create(name, body["vectors"])
            case "DELETE", ["collections", name]:
                return self._drop(name)
            case "PUT", ["collections", name, "index"]:
                operation = edge.UpdateOperation.create_field_index(
                    body["field_name"], _SCHEMAS[body["field_schema"]]
                )
                self._collection(name).shard.update(operation)
                return _DONE
            case "POST", ["collections", _, "points", "query"] if self.canned:
                return _CANNED
            case "PUT" | "POST", ["collections", name, "points", *rest]:
                return _points(self._collection(name).shard, method, "".join(rest), body)
        raise StubError(404, "no such route")

    def _collection(self, name: str) -> Collection:
        if name not in self._collections:
            raise StubError(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._collections[name]

    def _create(self, name: str, vectors: dict[str, Json]) -> bool:
        if name in self._collections:
            raise StubError(409, f"Wrong input: Collection `{name}` already exists!")
        folder = tempfile.TemporaryDirectory(prefix="qdrant-stub-")
        params: Any = (
            _vector_params(vectors)
            if "size" in vectors
            else {key: _vector_params(value) for key, value in vectors.items()}
        )
        shard = edge.EdgeShard.create(folder.name, edge.EdgeConfig(vectors=params))
        self._collections[name] = Collection(shard, vectors, folder)
        return True

    def _drop(self, name: str) -> bool:
        dropped = self._collections.pop(name, None)
        if dropped is not None:
            dropped.shard.close()
            dropped.folder.cleanup()
        return dropped is not None

    def _info(self, collection: Collection) -> Json:
        schema = {
            name: {"data_type": "keyword", "points": 0} for name in collection.shard.info().payload_schema
        }
        return {
            "status": "green",
            "optimizer_status": "ok",
            "segments_count": 1,
            "points_count": collection.shard.info().points_count,
            "config": {"params": {"vectors": collection.vectors}, **_CONFIG},
            "payload_schema": schema,
        }


def _vector_params(spec: dict[str, Json]) -> edge.EdgeVectorParams:
    return edge.EdgeVectorParams(size=spec["size"], distance=getattr(edge.Distance, spec["distance"]))


_DONE = {"operation_id": 0, "status": "completed"}


def _points(shard: edge.EdgeShard, method: str, action: str, body: Json) -> Json:
    match method, action:
        case "PUT", "":
            shard.update(edge.UpdateOperation.upsert_points(list(_stored(body))))
            return _DONE
        case "POST", "delete":
            shard.update(edge.UpdateOperation.delete_points(body["points"]))
            return _DONE
        case "POST", "":
            return [
                {"id": str(r.id)} for r in shard.retrieve(body["ids"], with_payload=False, with_vector=False)
            ]
        case "POST", "query":
            return {"points": _query(shard, body)}
        case "POST", "scroll":
            request = edge.ScrollRequest(
                offset=body.get("offset"),
                limit=body["limit"],
                filter=_filter(body.get("filter")),
                with_payload=False,
                with_vector=False,
            )
            records, following = shard.scroll(request)
            return {
                "points": [{"id": str(record.id)} for record in records],
                "next_page_offset": None if following is None else str(following),
            }
        case "POST", "count":
            return {"count": shard.count(edge.CountRequest(exact=True))}
    raise StubError(404, "no such route")


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
        body["limit"], query=edge.Query.Nearest(vector), with_payload=True, filter=_filter(body.get("filter"))
    )
    return [
        {"id": str(point.id), "version": point.version, "score": point.score, "payload": point.payload}
        for point in shard.query(request)
    ]


def _filter(spec: Json) -> edge.Filter | None:
    return None if spec is None else edge.Filter(must=[_condition(condition) for condition in spec["must"]])


def _condition(spec: Json) -> Any:
    if "has_id" in spec:
        return edge.HasIdCondition(set(spec["has_id"]))
    if "range" in spec:
        bounds = {name: bound for name, bound in spec["range"].items() if bound is not None}
        return edge.FieldCondition(spec["key"], range=edge.RangeFloat(**bounds))
    return edge.FieldCondition(spec["key"], match=edge.MatchAny(spec["match"]["any"]))


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))


def _response(status: int, body: bytes, *, keep: bool, retry_after: str | None) -> bytes:
    lines = [f"HTTP/1.1 {status} Stub", "content-type: application/json", f"content-length: {len(body)}"]
    if retry_after is not None:
        lines.append(f"retry-after: {retry_after}")
    if not keep:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _cut(writer: asyncio.StreamWriter, fault: Fault) -> None:
    assert fault.cut is not None
    writer.write(_response(200, b" " * 10_000, keep=True, retry_after=None)[: fault.cut])
    if fault.reset:
        writer.transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--canned", action="store_true")
    arguments = parser.parse_args()
    with QdrantStub(arguments.delay, canned=arguments.canned) as stub, contextlib.suppress(KeyboardInterrupt):
        print(stub.url, flush=True)  # noqa: T201 - whoever started this program reads it
        sys.stdin.read()


if __name__ == "__main__":
    main()
