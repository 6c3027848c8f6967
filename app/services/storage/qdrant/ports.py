"""The Qdrant client's interface that the repository needs, and its values.

They are plain values, so that the embedded engine works without importing ``qdrant_client``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.filters import Filters

COLLECTION = "extractions"
"""The collection's default name."""

DISTANCE = "Cosine"
KEYWORD_FIELDS = ("project_id", "source_group", "extraction_type")
FLOAT_FIELDS = ("confidence",)

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection's state; ``indexed`` is False while one of its payload indexes is missing.

    ``owner`` is the id of the store that owns it; None if it was created without one.
    ``strict_mode`` describes the server's limits as text; None if there are none.
    """

    dimension: int
    distance: str
    indexed: bool
    owner: str | None = None
    strict_mode: str | None = None

    def __str__(self) -> str:
        return f"{self.dimension}-dimensional {self.distance}"


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """A hit: ``id`` is the point's ID as text, and ``score`` the cosine similarity."""

    id: str
    score: float
    payload: Payload


class PointQuery(NamedTuple):
    """Asks for the best ``limit`` points after the first ``offset``, with these payload fields.

    With ``fields`` None, payloads are complete.
    """

    limit: int
    filters: Filters | None = None
    fields: Sequence[str] | None = None
    offset: int = 0


class ClientFailure(Exception):  # noqa: N818 - it never leaves this package
    """A client's call failed; the repository translates it to a QdrantError.

    - ``transient``: the same call may succeed later, but not before ``retry_after_s``.
    - ``disk_full``: it may succeed once there is space on the disk.
    - ``missing``: there is no such collection.
    - ``too_much``: it may succeed in smaller parts, of at most ``most`` members if the server says
      how many; with ``of_filter``, these are members of a filter.
    """

    def __init__(  # noqa: PLR0913 - each is a kind of failure
        self,
        reason: str,
        *,
        transient: bool = False,
        retry_after_s: float | None = None,
        disk_full: bool = False,
        missing: bool = False,
        too_much: bool = False,
        most: int | None = None,
        of_filter: bool = False,
    ) -> None:
        self.reason = reason
        self.disk_full = disk_full
        self.missing = missing
        self.transient = transient
        self.too_much = too_much
        self.most = most
        self.of_filter = of_filter
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class VectorClient(Protocol):
    """A synchronous client of one collection. Thread-safe.

    Every call except ``close`` raises only :class:`ClientFailure`. An acknowledged write is visible
    to the next call.
    """

    max_calls: int | None
    """The limit of concurrent calls, for the lane; with None, ``executor.qdrant_limit`` applies."""

    def batch_size(self, dimension: int) -> int:
        """How many points an upsert should have, so that it doesn't block other threads."""

    def get_collection(self) -> CollectionInfo | None:
        """The collection's state, or None if there is none."""

    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        """Create the collection and its payload indexes if missing; keep an existing owner."""

    def set_owner(self, owner: str) -> None:
        """Set the store that owns the collection."""

    def delete_collection(self) -> None:
        """Drop the collection with all its points, if there is one."""

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        """Store or replace points. ``vectors`` has a row of norm 1 for each point."""

    def query_points(self, vector: NDArray[np.float32], query: PointQuery) -> list[ScoredPoint]:
        """The points that match, best first; payloads may have more fields than asked for."""

    def retrieve(self, ids: Sequence[str], *, payloads: bool = False) -> dict[str, Payload]:
        """The ``ids`` that exist, with their payloads, which are empty unless asked for."""

    def set_payloads(self, groups: Sequence[tuple[Payload, Sequence[str]]]) -> None:
        """Replace the payloads of each group's points; ids without a point are ignored."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete these points; ids without a point are ignored."""

    def scroll(
        self, start: str | None, limit: int, filters: Filters | None, *, payloads: bool = False
    ) -> tuple[dict[str, Payload], str | None]:
        """A page of points by ID, in the order of IDs, and the start of the next page, or None.

        The page begins at ``start`` (None: at the first). Payloads are empty unless asked for.
        """

    def count(self) -> int:
        """The exact number of points."""

    def optimize(self) -> None:
        """Build the search indexes now. Embedded, this blocks every thread for a long time."""

    def ping(self) -> None:
        """Raise unless a call would be answered now."""

    def close(self) -> None:
        """Release all resources. A second call is a no-op; other calls fail from now on."""
