"""The embedded client: Qdrant's own engine as a library, in this process.

A call holds the GIL until it returns, so calls are kept short.
"""

import errno
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from app.domain.filters import Filters
from app.errors import DataDirectoryLocked, QdrantDiskFull, QdrantError
from app.private_files import make_private_folder
from app.service_note import find_holder
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
_OWNER_FILE = ".owner"
_NEW, _OLD = ".new", ".old"
"""These can't be collections, whose names begin with a letter or a digit."""

_FLOATS_A_CALL = 49_152
"""An upsert of 128 x 384 with its payload indexes holds the GIL for 3 ms."""

_RESERVE_BYTES = 64 * 2**20
"""The space that must be free before the engine writes.

It writes to mapped memory, and if the disk is full the kernel kills the process. A request takes
0.5 MB, opening 30 MB, a segment of the write-ahead log 32 MB.
"""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
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

    The directory holds ``lock``, which is locked while this process has the directory open,
    ``.owner``, the id of the owning store, and the shard, named after the collection. A service
    adds ``.service``, with its address. A shard is created in ``.new`` and dropped in ``.old``, so
    that the directory opens again after a crash at any moment. The write-ahead log is on:
    acknowledged writes survive a killed process. Nothing is written while less than
    ``reserve_bytes`` are free on its disk. The log is emptied after every ``log_bytes``.
    """

    # More calls at once would only wait for the GIL: docs/decisions/exclusive.md
    max_calls: int | None = 1

    def __init__(
        self,
        path: Path,
        collection: str = COLLECTION,
        *,
        reserve_bytes: int = _RESERVE_BYTES,
        log_bytes: int = _LOG_BYTES,
    ) -> None:
        """Open the directory; create it if it is missing.

        Raises:
            DataDirectoryLocked: it is open already, most likely in another process.
            QdrantDiskFull: there is too little space to open its shard.
            QdrantError: it can't be created, or its shard can't be opened.
        """
        self._path = path
        self._reserve_bytes = reserve_bytes
        self._log_bytes = log_bytes
        self._logged_bytes = 0
        self._shard_path = path / collection
        self._owner_file = path / _OWNER_FILE
        self._replacing = threading.Lock()
        self._shard: edge.EdgeShard | None = None
        self._lock_file: IO[bytes] | None = _lock(path, collection)
        try:
            self._remove_leftovers()
            if self._shard_path.exists():
                self._require_room_to_open()
                self._shard = _load(self._shard_path)
        except BaseException:
            self._lock_file.close()
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
            vectors = json.loads((self._shard_path / _CONFIG).read_bytes())["vectors"].get("")
            if vectors is None:
                raise ClientFailure("its vectors are named or missing, so another application made it")
            indexed = shard.info().payload_schema.keys() >= _INDEXES.keys()
            owner = self._owner_file.read_text() if self._owner_file.exists() else None
            return CollectionInfo(vectors["size"], vectors["distance"], indexed=indexed, owner=owner)

    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        """See :class:`VectorClient`."""
        self._check_open()
        with self._replacing, _translated():
            self._require_room()
            if self._shard is None:
                self._write_owner(owner)
                self._shard = self._create_shard(dimension)
            _create_indexes(self._shard)

    def set_owner(self, owner: str) -> None:
        """See :class:`VectorClient`."""
        with self._using(), self._replacing:
            self._write_owner(owner)

    def delete_collection(self) -> None:
        """See :class:`VectorClient`."""
        self._check_open()
        with self._replacing, _translated():
            shard, self._shard = self._shard, None
            if shard is None:
                return
            shard.close()
            self._rename(self._shard_path, self._path / _OLD)
            shutil.rmtree(self._path / _OLD)

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            self._require_room()
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
            self._require_room()
            for payload, ids in groups:
                # By a filter, because the engine refuses a list of points if one is missing.
                among = edge.Filter(must=[edge.HasIdCondition(set(ids))])
                shard.update(edge.UpdateOperation.overwrite_payload_by_filter(among, payload))
                self._empty_log_if_long(shard, _PAYLOAD_BYTES * len(ids))

    def delete(self, ids: Sequence[str]) -> None:
        """See :class:`VectorClient`."""
        with self._using() as shard:
            self._require_room()
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
            self._require_room(sum(file.stat().st_blocks * 512 for file in self._shard_path.rglob("*")))
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
            lock_file, self._lock_file = self._lock_file, None
            if shard is not None:
                shard.close()
            if lock_file is not None:
                lock_file.close()

    @contextmanager
    def _using(self) -> Iterator[edge.EdgeShard]:
        self._check_open()
        shard = self._shard
        if shard is None:
            raise ClientFailure("there is no such collection", missing=True)
        with _translated():
            yield shard

    def _check_open(self) -> None:
        if self._lock_file is None:
            raise ClientFailure("the client is closed")

    def _empty_log_if_long(self, shard: edge.EdgeShard, logged_bytes: int) -> None:
        self._logged_bytes += logged_bytes
        if self._logged_bytes >= self._log_bytes:
            self._logged_bytes = 0
            shard.flush()

    def _require_room(self, more_bytes: int = 0) -> None:
        disk = os.statvfs(self._path)
        free, needed = disk.f_bavail * disk.f_frsize, self._reserve_bytes + more_bytes
        if free < needed:
            raise ClientFailure(
                f"the disk is full: {self._path} has {free >> 20} MiB left, and the engine needs {needed >> 20} MiB to "
                "write safely. Nothing was written. Free space on that disk, and try again.",
                disk_full=True,
            )

    def _require_room_to_open(self) -> None:
        """Require room, because opening replays the write-ahead log, which writes."""
        try:
            self._require_room()
        except ClientFailure as failure:
            raise QdrantDiskFull("open the data directory", self._shard_path.name, failure.reason) from None

    def _create_shard(self, dimension: int) -> edge.EdgeShard:
        new = self._path / _NEW
        shutil.rmtree(new, ignore_errors=True)
        vectors = edge.EdgeVectorParams(size=dimension, distance=getattr(edge.Distance, DISTANCE))
        shard = edge.EdgeShard.create(str(new), edge.EdgeConfig(vectors=vectors))
        _create_indexes(shard)
        shard.close()
        self._rename(new, self._shard_path)
        return edge.EdgeShard.load(str(self._shard_path))

    def _write_owner(self, owner: str | None) -> None:
        """Write a new file and rename it, so that a crash leaves the old owner or the new one."""
        if owner is None:
            self._owner_file.unlink(missing_ok=True)
            return
        new = self._path / f"{_OWNER_FILE}.new"
        new.write_text(owner)
        self._rename(new, self._owner_file)

    def _rename(self, old: Path, new: Path) -> None:
        """Rename, and sync the directory, so that the new name survives a power failure."""
        old.rename(new)
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _remove_leftovers(self) -> None:
        for name in (_NEW, _OLD):
            shutil.rmtree(self._path / name, ignore_errors=True)


def _lock(path: Path, collection: str) -> IO[bytes]:
    """Lock the directory for this process, until the file is closed or the process ends."""
    try:
        make_private_folder(path)
        lock_file = (path / "lock").open("ab")
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            lock_file.close()
            raise
    except BlockingIOError:
        service = find_holder(path)
        raise DataDirectoryLocked(str(path), collection, None if service is None else str(service)) from None
    except OSError as error:
        kind = QdrantDiskFull if error.errno in _NO_ROOM else QdrantError
        way_out = "Let this process's user write to it, or set qdrant.path to another directory."
        raise kind("open the data directory", collection, f"{path}: {error.strerror}. {way_out}") from error
    return lock_file


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
