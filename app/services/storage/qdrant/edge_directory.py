"""The embedded engine's directory: its lock, owner and shard, and the room on its disk."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.errors import DataDirectoryLocked, QdrantDiskFull, QdrantError
from app.private_files import make_private_folder
from app.service_note import find_holder
from app.services.storage.qdrant.ports import ClientFailure

_OWNER_FILE = ".owner"
_NEW, _OLD = ".new", ".old"
"""These can't be collections, whose names begin with a letter or a digit."""

RESERVE_BYTES = 64 * 2**20
"""The space that must be free before the engine writes.

It writes to mapped memory, and if the disk is full the kernel kills the process. A request takes
0.5 MB, opening 30 MB, a segment of the write-ahead log 32 MB.
"""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class EdgeDirectory:
    """The directory, which is locked from here to :meth:`close` or the end of the process.

    It holds ``lock``, which is locked, ``.owner``, the id of the owning store, and the shard, named
    after the collection. A service adds ``.service``, with its address. A shard is created in
    ``.new`` and dropped in ``.old``, so that the directory opens again after a crash at any moment.

    Raises:
        DataDirectoryLocked: it is open already, most likely in another process.
        QdrantDiskFull, QdrantError: it can't be created.
    """

    def __init__(self, path: Path, collection: str, reserve_bytes: int) -> None:
        self.shard = path / collection
        self._path = path
        self._reserve_bytes = reserve_bytes
        self._owner_file = path / _OWNER_FILE
        self._lock_file = _lock(path, collection)

    def close(self) -> None:
        """Unlock the directory."""
        self._lock_file.close()

    def remove_leftovers(self) -> None:
        """Remove what a crash left of a shard that was being created or dropped."""
        for name in (_NEW, _OLD):
            shutil.rmtree(self._path / name, ignore_errors=True)

    @contextmanager
    def new_shard(self) -> Iterator[Path]:
        """Yield where to create a shard; it becomes the directory's once it is complete."""
        new = self._path / _NEW
        shutil.rmtree(new, ignore_errors=True)
        yield new
        self._rename(new, self.shard)

    def delete_shard(self) -> None:
        """Delete the shard, which must be closed."""
        self._rename(self.shard, self._path / _OLD)
        shutil.rmtree(self._path / _OLD)

    def find_owner(self) -> str | None:
        """The id of the store that owns the shard; None if it isn't known."""
        return self._owner_file.read_text() if self._owner_file.exists() else None

    def write_owner(self, owner: str | None) -> None:
        """Write a new file and rename it, so that a crash leaves the old owner or the new one."""
        if owner is None:
            self._owner_file.unlink(missing_ok=True)
            return
        new = self._path / f"{_OWNER_FILE}.new"
        new.write_text(owner)
        self._rename(new, self._owner_file)

    def require_room(self, more_bytes: int = 0) -> None:
        """Raise unless the engine can write safely, and ``more_bytes`` besides.

        Raises:
            ClientFailure: the disk is full.
        """
        disk = os.statvfs(self._path)
        free, needed = disk.f_bavail * disk.f_frsize, self._reserve_bytes + more_bytes
        if free < needed:
            raise ClientFailure(
                f"the disk is full: {self._path} has {free >> 20} MiB left, and the engine needs {needed >> 20} MiB to "
                "write safely. Nothing was written. Free space on that disk, and try again.",
                disk_full=True,
            )

    def require_room_to_open(self) -> None:
        """Require room, because opening replays the write-ahead log, which writes."""
        try:
            self.require_room()
        except ClientFailure as failure:
            raise QdrantDiskFull("open the data directory", self.shard.name, failure.reason) from None

    def _rename(self, old: Path, new: Path) -> None:
        """Rename, and sync the directory, so that the new name survives a power failure."""
        old.rename(new)
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


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
