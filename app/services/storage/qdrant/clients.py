"""What the repository needs of a Qdrant client, and how the configured one is opened.

The arguments are plain values, so that the embedded engine is used without importing ``qdrant_client``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.services.storage.qdrant.filters import SearchFilters

COLLECTION = "extractions"
DISTANCE = "Cosine"
KEYWORD_FIELDS = ("project_id", "source_group", "extraction_type")
FLOAT_FIELDS = ("confidence",)

Mode = Literal["embedded", "server", "memory"]
Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as it stands; ``indexed`` is False while one of its payload indexes is missing."""

    dimension: int
    distance: str
    indexed: bool

    def __str__(self) -> str:
        return f"{self.dimension}-dimensional {self.distance}"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server is reached, and how its collection is made.

    ``timeout_s`` bounds one request; ``connections`` is how many may run at once: the lane's limit. The files
    are PEM. The last three count only where this process makes the collection; None leaves it to the server.
    """

    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0
    connections: int = 1
    prefer_grpc: bool = False
    grpc_port: int = 6334
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A point that was found. ``score`` is the cosine similarity, to six digits."""

    extraction_id: str
    score: float
    payload: Payload


class ClientFailure(Exception):  # noqa: N818 - it never leaves this package; callers meet QdrantError
    """A client's call failed. ``transient``: the same call may succeed later, not before ``retry_after_s``.

    ``disk_full``: not before somebody has made room.
    """

    def __init__(
        self,
        reason: str,
        *,
        transient: bool = False,
        retry_after_s: float | None = None,
        disk_full: bool = False,
    ) -> None:
        self.reason = reason
        self.disk_full = disk_full
        self.transient = transient
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class VectorClient(Protocol):
    """A synchronous client of one collection, called from any thread, from several at once.

    Every call but ``close`` raises :class:`ClientFailure` and nothing else. What is acknowledged is visible
    to the next call.
    """

    def batch_size(self, dimension: int) -> int:
        """How many points an upsert should carry, so that other threads aren't held up."""

    def get_collection(self) -> CollectionInfo | None:
        """The collection as it stands, or None when there is none."""

    def create_collection(self, dimension: int) -> None:
        """Make what is missing of the collection and its payload indexes; what exists stays."""

    def delete_collection(self) -> None:
        """Drop the collection with all its points, if there is one."""

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        """Store points, replacing those with the same ids. ``vectors`` has one row of norm 1 a point."""

    def query_points(
        self, vector: NDArray[np.float32], limit: int, filters: SearchFilters | None
    ) -> list[SearchResult]:
        """The ``limit`` best points, best first."""

    def retrieve(self, ids: Sequence[str]) -> set[str]:
        """Which of ``ids`` exist."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete these points; ids without a point are ignored."""

    def scroll(
        self, start: str | None, limit: int, filters: SearchFilters | None
    ) -> tuple[list[str], str | None]:
        """Ids in their order from ``start`` on (None: the first), and where the next page starts."""

    def count(self) -> int:
        """How many points there are, exactly."""

    def optimize(self) -> None:
        """Build the search indexes now. Embedded, this stops every thread of the process for long."""

    def ping(self) -> None:
        """Fail unless a call can be answered now."""

    def close(self) -> None:
        """Release everything; a second time does nothing, a call afterwards fails."""


def open_client(mode: Mode, *, path: Path, server: ServerOptions | None = None) -> VectorClient:
    """Open the client of ``mode``; the caller closes it.

    ``path`` is for ``embedded``, ``server`` for ``server``, which isn't contacted yet.

    Raises:
        DataDirectoryLocked: another process uses ``path``.
        QdrantError: ``path`` holds something that can't be opened.
        ConfigurationError: a PEM file or the API key can't be used.
    """
    if mode == "embedded":
        from app.services.storage.qdrant.edge import EdgeClient  # noqa: PLC0415 - only where it is wanted

        return EdgeClient(path)
    if mode == "memory":
        from app.services.storage.qdrant.adapter import memory_client  # noqa: PLC0415 - slow to import

        return memory_client()
    if server is None or server.url is None:
        raise ValueError("a server client needs a url")
    from app.services.storage.qdrant.server import server_client  # noqa: PLC0415 - slow to import

    return server_client(server)
