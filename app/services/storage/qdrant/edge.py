"""The embedded client: Qdrant's own engine as a library, in this process.

A call holds the GIL until it returns, so calls are kept short.
"""

import errno
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from app.domain.filters import Filters
from app.errors import QdrantError
from app.services.storage.qdrant.edge_directory import RESERVE_BYTES, EdgeDirectory
from app.services.storage.qdrant.filters import edge_filter
from app.services.storage.qdrant.ports import (
    COLLECTION,
    DISTANCE,
    FLOAT_FIELDS,
    KEYWORD_FIELDS,
    ClientFailure,
    CollectionInfo,
    Payload,
    PointQuery,
    ScoredPoint,
)

_INDEXES = dict.fromkeys(KEYWORD_FIELDS, edge.PayloadSchemaType.Keyword) | dict.fromkeys(
    FLOAT_FIELDS, edge.PayloadSchemaType.Float
)
_CONFIG = "edge_config.json"
_FLOATS_A_CALL = 49_152
"""An upsert of 128 x 384 with its payload indexes holds the GIL for 3 ms."""

_NO_FILE = (errno.EMFILE, errno.ENFILE)

_LOG_BYTES = 8 * 2**20
"""The size of the log at which the engine is flushed, which empties the log.

Otherwise the log grows while the process lives, and the next process after a kill indexes all of it
again. A flush holds the GIL: for 45 ms after 8 MB, and for 310 ms after 128 MB. With less than
8 MB, upserts take longer.
"""
_PAYLOAD_BYTES = 400
"""A point's size in the log besides its vector, with the usual labels of extractions."""


class EdgeClient:
    """A :class:`VectorClient` over ``qdrant_edge.EdgeShard``, the only one in its data directory.

    The write-ahead log is on: acknowledged writes survive a killed process. Nothing is written
    while less than ``reserve_bytes`` are free on its disk. The log is emptied after every
    ``log_bytes``.
    """

    # More calls at once would only wait for the GIL: docs/decisions/exclusive.md
    max_calls: int | None = 1

    def __init__(
        self,
        path: Path,
        collection: str = COLLECTION,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        log_bytes: int = _LOG_BYTES,
    ) -> None:
        """Open the directory; create it if it is missing.

        Raises:
            DataDirectoryLocked: it is open already, most likely in another process.
            QdrantDiskFull: there is too little space to open its shard.
            QdrantError: it can't be created, or its shard can't be opened.
        """
        self._log_bytes = log_bytes
        self._logged_bytes = 0
        self._replacing = threading.Lock()
        self._shard: edge.EdgeShard | None = None
        self._is_closed = False
        self._directory = EdgeDirectory(path, collection, reserve_bytes)
        try:
            self._directory.remove_leftovers()
            if self._directory.shard.exists():
                self._directory.require_room_to_open()
                self._shard = _load(self._directory.shard)
        except BaseException:
            self._directory.close()
            raise

    def batch_size(self, dimension: int) -> int:
        """See :class:`VectorClient`."""
        return max(1, min(128, _FLOATS_A_CALL // dimension))

    def get_collection(self) -> CollectionInfo | None:
        """See :class:`VectorClient`."""
        self._check_open()
        shard = self._shard
        if shard is None:
            return None
        with _translated():
            # The shard doesn't report its configuration.
            vectors = json.loads((self._directory.shard / _CONFIG).read_bytes())["vectors"].get("")
            if vectors is None:
                raise ClientFailure("its vectors are named or missing, so another application made it")
            indexed = shard.info().payload_schema.keys() >= _INDEXES.keys()
            owner = self._directory.find_owner()
            return CollectionInfo(vectors["size"], vectors["distance"], indexed=indexed, owner=owner)

    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        """See :class:`VectorClient`."""
        self._check_open()
        with self._replacing, _translated():
            self._directory.require_room()
            if self._shard is None:
                self._directory.write_owner(owner)
                self._shard = self._create_shard(dimension)
            _create_indexes(self._shard)

    def set_owner(self, owner: str) -> None:
        """See :class:`VectorClient`."""
        with self._using(), self._replacing:
            self._directory.write_owner(owner)

    def delete_collection(self) -> None:
        """See :class:`VectorClient`."""
        self._check_open()
        with self._replacing, _translated():
            shard, self._shard = self._shard, None
            if shard is None:
                return
            shard.close()
            self._directory.delete_shard()

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            self._directory.require_room()
            points = [edge.Point(*point) for point in zip(ids, vectors, payloads, strict=True)]
            shard.update(edge.UpdateOperation.upsert_points(points))
            self._empty_log_if_long(shard, vectors.nbytes + _PAYLOAD_BYTES * len(points))

    def query_points(self, vector: NDArray[np.float32], query: PointQuery) -> list[ScoredPoint]:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            request = edge.QueryRequest(
                query.limit,
                offset=query.offset,
                query=edge.Query.Nearest(vector.tolist()),
                with_payload=True if query.fields is None else list(query.fields),
                filter=edge_filter(query.filters),
            )
            return [ScoredPoint(str(p.id), p.score, p.payload or {}) for p in shard.query(request)]

    def retrieve(self, ids: Sequence[str], *, payloads: bool = False) -> dict[str, Payload]:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            found = shard.retrieve(list(ids), with_payload=payloads, with_vector=False)
            return {str(record.id): record.payload or {} for record in found}

    def set_payloads(self, groups: Sequence[tuple[Payload, Sequence[str]]]) -> None:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            self._directory.require_room()
            for payload, ids in groups:
                # By a filter, because the engine refuses a list of points if one is missing.
                among = edge.Filter(must=[edge.HasIdCondition(set(ids))])
                shard.update(edge.UpdateOperation.overwrite_payload_by_filter(among, payload))
                self._empty_log_if_long(shard, _PAYLOAD_BYTES * len(ids))

    def delete(self, ids: Sequence[str]) -> None:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            self._directory.require_room()
            shard.update(edge.UpdateOperation.delete_points(list(ids)))

    def scroll(
        self, start: str | None, limit: int, filters: Filters | None, *, payloads: bool = False
    ) -> tuple[dict[str, Payload], str | None]:
        """See :class:`VectorClient`."""
        chosen = edge_filter(filters)
        with self._using() as shard:
            records, following = shard.scroll(
                edge.ScrollRequest(
                    offset=start, limit=limit, filter=chosen, with_payload=payloads, with_vector=False
                )
            )
            found = {str(record.id): record.payload or {} for record in records}
            return found, None if following is None else str(following)

    def count(self) -> int:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            return shard.count(edge.CountRequest(exact=True))

    def optimize(self) -> None:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            # It writes a second copy of the shard before it drops the first.
            files = self._directory.shard.rglob("*")
            self._directory.require_room(sum(file.stat().st_blocks * 512 for file in files))
            shard.optimize()

    def ping(self) -> None:
        """See :class:`VectorClient`."""
        self._check_open()
        if self._shard is not None:
            with _translated():
                self._shard.info()

    def close(self) -> None:
        """See :class:`VectorClient`."""
        with self._replacing:
            shard, self._shard = self._shard, None
            self._is_closed = True
            if shard is not None:
                shard.close()
            self._directory.close()

    @contextmanager
    def _using(self) -> Iterator[edge.EdgeShard]:
        self._check_open()
        shard = self._shard
        if shard is None:
            raise ClientFailure("there is no such collection", missing=True)
        with _translated():
            yield shard

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientFailure("the client is closed")

    def _empty_log_if_long(self, shard: edge.EdgeShard, logged_bytes: int) -> None:
        self._logged_bytes += logged_bytes
        if self._logged_bytes >= self._log_bytes:
            self._logged_bytes = 0
            shard.flush()

    def _create_shard(self, dimension: int) -> edge.EdgeShard:
        vectors = edge.EdgeVectorParams(size=dimension, distance=getattr(edge.Distance, DISTANCE))
        with self._directory.new_shard() as new:
            shard = edge.EdgeShard.create(str(new), edge.EdgeConfig(vectors=vectors))
            _create_indexes(shard)
            shard.close()
        return edge.EdgeShard.load(str(self._directory.shard))


def _load(path: Path) -> edge.EdgeShard:
    # Checked first, because the engine would create its folders in a directory that isn't a shard.
    if not (path / _CONFIG).is_file():
        raise _damaged(path, f"it has no {_CONFIG}")
    try:
        with _translated():
            return edge.EdgeShard.load(str(path))
    except ClientFailure as failure:
        raise _damaged(path, failure.reason) from failure


def _damaged(path: Path, reason: str) -> QdrantError:
    found = f"{path} is damaged or isn't a shard of this engine ({reason})"
    way_out = "Move it away and run `agent-storage reindex`; the SQL data has everything it contained."
    return QdrantError("open the data directory", path.name, f"{found}. {way_out}")


def _create_indexes(shard: edge.EdgeShard) -> None:
    existing = shard.info().payload_schema.keys()
    for field, schema in _INDEXES.items():
        if field not in existing:
            shard.update(edge.UpdateOperation.create_field_index(field, schema))


def _has_no_file_left(error: Exception) -> bool:
    """Whether the error says that the process or the system has too many open files."""
    number = error.errno if isinstance(error, OSError) else None
    return number in _NO_FILE or "os error 24" in str(error) or "os error 23" in str(error)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientFailure:
        raise
    except Exception as error:
        # The engine raises bare Exception; only its text tells the cause.
        raise ClientFailure(str(error), transient=_has_no_file_left(error)) from error
    except BaseException as error:
        # A panic of the engine derives from BaseException, so that no `except Exception` hides it.
        if type(error).__name__ != "PanicException":
            raise
        raise ClientFailure(f"the engine panicked: {error}") from error
