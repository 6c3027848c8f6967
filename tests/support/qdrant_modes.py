"""The implementations of the vector client that the contract's tests run on."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import DISTANCE, ClientFailure, VectorClient
from app.settings.sections import QdrantMode, QdrantSettings
from support.qdrant_engine import FAST_FOLDER
from support.qdrant_grpc_stub import QdrantGrpcStub
from support.qdrant_server import is_available, real_server
from support.qdrant_stub import QdrantStub

Contract = Literal["memory", "embedded", "rest", "grpc", "real-rest", "real-grpc"]

STUBS: tuple[Contract, ...] = ("rest", "grpc")
"""The stubs of a server, over real sockets."""
REAL_SERVERS: tuple[Contract, ...] = ("real-rest", "real-grpc") if is_available() else ()
SERVERS: tuple[Contract, ...] = (*STUBS, *REAL_SERVERS)
MODES: tuple[Contract, ...] = ("memory", "embedded", *SERVERS)

CONNECTIONS = 4
"""The most connections of a client to a server."""
_IDS_A_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Stubs:
    """One server with both of its ports."""

    rest: QdrantStub
    grpc: QdrantGrpcStub

    def settings(self, mode: Contract, **others: Any) -> QdrantSettings:
        """The settings for the server of ``mode``, with ``others`` of the section's fields."""
        if mode in REAL_SERVERS:
            return settings_of_real(mode, **others)
        return QdrantSettings(
            url=self.rest.url, prefer_grpc=mode.endswith("grpc"), grpc_port=self.grpc.port, **others
        )

    def forget(self) -> None:
        """Forget all requests, and all faults that weren't consumed."""
        for each in (self.rest, self.grpc):
            each.faults.clear()
            each.requests.clear()
            each.api_keys.clear()
        self.grpc.waited.clear()
        self.grpc.peers.clear()


def settings_of_real(mode: Contract, **others: Any) -> QdrantSettings:
    """The settings for the real server in ``mode``, with a collection for this process."""
    real = real_server()
    others.setdefault("collection", f"tests-{os.getpid()}")
    return QdrantSettings(url=real.url, prefer_grpc=mode.endswith("grpc"), grpc_port=real.grpc_port, **others)


@contextmanager
def stub_servers() -> Iterator[Stubs]:
    with QdrantStub() as rest, QdrantGrpcStub(rest.engine) as grpc:
        yield Stubs(rest, grpc)


class Clients:
    """Opens a client of each mode on first use, and keeps it open until the end."""

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs
        self._opened: dict[Contract, VectorClient] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        self._folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory(dir=FAST_FOLDER)))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def __call__(self, mode: Contract) -> VectorClient:
        """Return the client of ``mode``, on no collection or an empty one."""
        if mode not in self._opened:
            self._opened[mode] = client = self.open(mode)
            self._closing.callback(client.close)
            if mode in REAL_SERVERS:
                self._closing.callback(_drop, client)
        empty(self._opened[mode])
        return self._opened[mode]

    def open(self, mode: Contract) -> VectorClient:
        """Open another client of ``mode``, which the caller closes.

        Only one client of the embedded engine may be open.
        """
        if mode in SERVERS:
            return open_vector_client(self._stubs.settings(mode), connections=CONNECTIONS)
        engine: QdrantMode = "memory" if mode == "memory" else "embedded"
        return open_vector_client(QdrantSettings(mode=engine, path=str(self._folder / "qdrant")))


def _drop(client: VectorClient) -> None:
    with suppress(ClientFailure):  # a test has closed it
        client.delete_collection()


def empty(client: VectorClient, dimension: int = 16) -> None:
    """Delete the points of a collection like the repository's, and drop any other collection."""
    try:
        found = client.get_collection()
    except ClientFailure:  # it has named vectors
        client.delete_collection()
        return
    if found is None:
        return
    if (found.dimension, found.distance, found.indexed) != (dimension, DISTANCE, True):
        client.delete_collection()
        return
    following: str | None = None
    while True:
        ids, following = client.scroll(following, _IDS_A_PAGE, None)
        if ids:
            client.delete(list(ids))
        if following is None:
            return
