"""The client of a Qdrant server, and of ``qdrant_client``'s in-memory imitation of one.

Each ``QdrantClient`` is used by one thread at a time. Otherwise the imitation corrupts itself, and
threads that share an HTTP connection pool close each other's sockets
(docs/decisions/qdrant-connections.md).
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from grpc import RpcError
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal

from app.domain.filters import Filters
from app.services.storage.qdrant.failures import is_passing, translated
from app.services.storage.qdrant.point_calls import CallsByModels, PointCalls, as_sent
from app.services.storage.qdrant.ports import (
    COLLECTION,
    FLOAT_FIELDS,
    KEYWORD_FIELDS,
    ClientFailure,
    CollectionInfo,
    Payload,
    PointQuery,
    ScoredPoint,
)

_INDEXES = dict.fromkeys(KEYWORD_FIELDS, models.PayloadSchemaType.KEYWORD) | dict.fromkeys(
    FLOAT_FIELDS, models.PayloadSchemaType.FLOAT
)


_OWNER = "agent_storage_owner"
"""The member of a collection's metadata that holds the id of the owning store."""


class Connection(NamedTuple):
    """An open client, and the implementation of its frequent requests."""

    client: QdrantClient
    calls: PointCalls


def memory_client(collection: str = COLLECTION) -> "QdrantClientAdapter":
    """Open a client of an in-memory imitation, which is lost on close. For tests and trials."""
    calls = CallsByModels(collection)
    return QdrantClientAdapter(
        lambda: Connection(QdrantClient(":memory:"), calls),
        collection,
        size=1,
        batch_size=64,
        has_indexes=False,
    )


def borrowed_client(client: QdrantClient, collection: str) -> "QdrantClientAdapter":
    """Wrap a caller's ``QdrantClient``, which only its owner closes, for one thread at a time."""
    imitation = isinstance(client._client, QdrantLocal)  # noqa: SLF001 - no public member says so
    connection = Connection(client, CallsByModels(collection))
    return QdrantClientAdapter(
        lambda: connection, collection, size=1, batch_size=64, has_indexes=not imitation, owned=False
    )


class QdrantClientAdapter:
    """A :class:`VectorClient` over up to ``size`` connections, each used by one thread at a time.

    If all are in use, a thread waits. With ``size`` equal to the lane's limit, no thread has to.
    """

    def __init__(  # noqa: PLR0913 - each is a property of the engine
        self,
        connect: Callable[[], Connection],
        collection: str,
        *,
        size: int,
        batch_size: int,
        has_indexes: bool = True,
        cluster: Mapping[str, Any] | None = None,
        owned: bool = True,
    ) -> None:
        """``connect`` opens a connection; ``has_indexes`` is False for the imitation.

        ``cluster`` has further options for creating the collection. Clients that aren't ``owned``
        are never closed.
        """
        self.max_calls: int | None = size
        self._clients = _Clients(connect, size, owned=owned)
        self._collection = collection
        self._batch_size = batch_size
        self._indexes = _INDEXES if has_indexes else {}
        self._cluster = dict(cluster or {})

    def batch_size(self, dimension: int) -> int:  # noqa: ARG002 - bytes bound requests too
        """See :class:`VectorClient`."""
        return self._batch_size

    @property
    def protocol(self) -> str:
        """The protocol, REST or gRPC; empty before the first call, and without a server."""
        return self._clients.protocol

    def get_collection(self) -> CollectionInfo | None:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, _):
            if not client.collection_exists(self._collection):
                return None
            info = client.get_collection(self._collection)
        vectors = info.config.params.vectors
        if not isinstance(vectors, models.VectorParams):
            raise ClientFailure("its vectors are named or missing, so another application made it")
        indexed = info.payload_schema.keys() >= self._indexes.keys()
        owner = (info.config.metadata or {}).get(_OWNER)
        strict = _strict_mode(info.config.strict_mode_config)
        return CollectionInfo(
            vectors.size, vectors.distance.value, indexed=indexed, owner=owner, strict_mode=strict
        )

    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, _):
            if not client.collection_exists(self._collection):
                self._make_collection(client, dimension, owner)
            existing = client.get_collection(self._collection).payload_schema
            for field, schema in self._indexes.items():
                if field not in existing:
                    client.create_payload_index(self._collection, field, schema, wait=True)

    def _make_collection(self, client: QdrantClient, dimension: int, owner: str | None) -> None:
        metadata = None if owner is None else {_OWNER: owner}
        vectors = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
        try:
            client.create_collection(
                self._collection, vectors_config=vectors, metadata=metadata, **self._cluster
            )
        except (UnexpectedResponse, RpcError):
            # Another process may have created it in the meantime.
            if not client.collection_exists(self._collection):
                raise

    def set_owner(self, owner: str) -> None:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, _):
            client.update_collection(self._collection, metadata={_OWNER: owner})

    def delete_collection(self) -> None:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, _):
            client.delete_collection(self._collection)

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, calls):
            calls.upsert(client, ids, vectors, payloads)

    def query_points(self, vector: NDArray[np.float32], query: PointQuery) -> list[ScoredPoint]:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, calls):
            return calls.query(client, vector, query)

    def retrieve(self, ids: Sequence[str], *, payloads: bool = False) -> dict[str, Payload]:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, calls):
            return calls.retrieve(client, ids, payloads=payloads)

    def set_payloads(self, groups: Sequence[tuple[Payload, Sequence[str]]]) -> None:
        """See :class:`VectorClient`."""
        # By a filter, because Qdrant refuses a whole list of points if one of them is missing.
        operations = [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(
                    payload=payload, filter=models.Filter(must=[models.HasIdCondition(has_id=list(ids))])
                )
            )
            for payload, ids in groups
        ]
        with self._clients.one() as (client, _):
            client.batch_update_points(self._collection, operations, wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, _):
            client.delete(
                self._collection, models.PointIdsList(points=[as_sent(id_) for id_ in ids]), wait=True
            )

    def scroll(
        self, start: str | None, limit: int, filters: Filters | None, *, payloads: bool = False
    ) -> tuple[dict[str, Payload], str | None]:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, calls):
            return calls.scroll(client, start, limit, filters, payloads=payloads)

    def count(self) -> int:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, _):
            return client.count(self._collection, exact=True).count

    def optimize(self) -> None:
        """Do nothing: a server optimises without being asked, and the imitation never."""

    def ping(self) -> None:
        """See :class:`VectorClient`."""
        with self._clients.one() as (client, _):
            client.collection_exists(self._collection)

    def close(self) -> None:
        """See :class:`VectorClient`."""
        self._clients.close()


def _strict_mode(config: models.StrictModeConfigOutput | None) -> str | None:
    """The limits and permissions of the server's strict mode, as text."""
    if config is None or not config.enabled:
        return None
    told = config.model_dump(exclude={"enabled"}, exclude_none=True, exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in sorted(told.items())) or None


class _Clients:
    """Up to ``size`` connections, each lent to one thread at a time.

    They are opened when needed, and the last used is lent first.
    """

    def __init__(self, connect: Callable[[], Connection], size: int, *, owned: bool) -> None:
        self._connect = connect
        self._owned = owned
        self._slots = threading.Semaphore(size)
        self._changing = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        self.protocol = ""

    @contextmanager
    def one(self) -> Iterator[Connection]:
        """Lend a connection to this thread, and translate its errors."""
        with self._slots, translated():
            connection = self._take()
            reusable = True
            try:
                yield connection
            except RpcError as error:
                # A channel may keep a dead connection, and its pauses before it reconnects grow.
                reusable = not (self._owned and is_passing(error))
                raise
            finally:
                if reusable:
                    self._give_back(connection)
                else:
                    connection.client.close()

    def close(self) -> None:
        with self._changing:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle if self._owned else ():
            connection.client.close()

    def _take(self) -> Connection:
        with self._changing:
            if self._closed:
                raise ClientFailure("the client is closed")
            if self._idle:
                return self._idle.pop()
        connection = self._connect()
        self.protocol = connection.calls.name
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._changing:
            if not self._closed:
                self._idle.append(connection)
                return
        if self._owned:
            connection.client.close()
