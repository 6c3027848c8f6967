"""What the repository needs of a Qdrant client: the port, and the values that pass through it.

They are plain values, so that the embedded engine is used without importing ``qdrant_client``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.filters import Filters

COLLECTION = "extractions"
"""The collection's name where nothing else is said."""

DISTANCE = "Cosine"
KEYWORD_FIELDS = ("project_id", "source_group", "extraction_type")
FLOAT_FIELDS = ("confidence",)

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as it stands; ``indexed`` is False while one of its payload indexes is missing.

    ``owner`` is the id of the store whose index it is; None for one that was made without saying
    so. ``strict_mode`` is what the server's allows, as text; None where it has none.
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
    """A point that was found. ``id`` is the point's ID as text, and ``score`` the cosine similarity."""

    id: str
    score: float
    payload: Payload


class PointQuery(NamedTuple):
    """Which points are wanted: the ``limit`` best after the first ``offset``, and of their payloads these fields, or all."""

    limit: int
    filters: Filters | None = None
    fields: Sequence[str] | None = None
    offset: int = 0


class ClientFailure(Exception):  # noqa: N818 - it never leaves this package; callers meet QdrantError
    """A client's call failed. ``transient``: the same call may succeed later, not before ``retry_after_s``.

    ``disk_full``: not before there is room on the disk. ``missing``: there is no such collection.
    ``too_much``: the same in smaller parts may succeed, of ``most`` members at most where the
    server says so; ``of_filter``: members of a filter.
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
    """A synchronous client of one collection, called from any thread, from several at once.

    Every call but ``close`` raises :class:`ClientFailure` and nothing else. What is acknowledged is
    visible to the next call.
    """

    max_calls: int | None
    """How many calls may run at once, which the lane then bounds; None leaves it to ``executor.qdrant_limit``."""

    def batch_size(self, dimension: int) -> int:
        """How many points an upsert should carry, so that other threads aren't held up."""

    def get_collection(self) -> CollectionInfo | None:
        """The collection as it stands, or None when there is none."""

    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        """Make what is missing of the collection and its payload indexes; what exists stays, its owner too."""

    def set_owner(self, owner: str) -> None:
        """Say whose index the collection is."""

    def delete_collection(self) -> None:
        """Drop the collection with all its points, if there is one."""

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        """Store points, replacing those with the same ids. ``vectors`` has one row of norm 1 a point."""

    def query_points(self, vector: NDArray[np.float32], query: PointQuery) -> list[ScoredPoint]:
        """The points wanted, best first; fields beyond those asked for may be among their payloads."""

    def retrieve(self, ids: Sequence[str], *, payloads: bool = False) -> dict[str, Payload]:
        """Those of ``ids`` that exist, with their payloads if asked for, else with empty ones."""

    def set_payloads(self, groups: Sequence[tuple[Payload, Sequence[str]]]) -> None:
        """Put each payload in the place of those of its points; ids without a point are ignored."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete these points; ids without a point are ignored."""

    def scroll(
        self, start: str | None, limit: int, filters: Filters | None, *, payloads: bool = False
    ) -> tuple[dict[str, Payload], str | None]:
        """Points by ID, in the order of their IDs from ``start`` on (None: the first), and where the next page starts.

        Their payloads are empty unless asked for.
        """

    def count(self) -> int:
        """How many points there are, exactly."""

    def optimize(self) -> None:
        """Build the search indexes now. Embedded, this stops every thread of the process for long."""

    def ping(self) -> None:
        """Fail unless a call can be answered now."""

    def close(self) -> None:
        """Release everything; a second time does nothing, a call afterwards fails."""
