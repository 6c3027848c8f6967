"""A folder of backups: two files each, named by the moment, of which the manifest comes last."""

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.errors import (
    BackupError,
    BackupFailed,
    BackupMissing,
    BackupRunning,
    BackupUnusable,
)
from app.private_files import make_private_file, make_private_folder
from app.services.backup.manifest import Manifest, dump_manifest, load_manifest
from app.sql.postgres_commands import MAGIC

_NAME = re.compile(r"agent-storage-\d{8}T\d{6}\.\d{6}Z")
_PART = ".part"
_LOGS = ("-wal", "-shm", "-journal")
_LOCK = ".agent-storage-backup.lock"
_CHUNK_BYTES = 2**20

Advance = Callable[[int, int], object]
"""Is told how many of how many bytes were read; what it raises ends it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup of which the manifest can be read and the file has the right size."""

    file: Path
    manifest: Manifest


def name_for(moment: datetime) -> str:
    """Of a backup that began then, in UTC; names sort as moments do."""
    return f"agent-storage-{moment:%Y%m%dT%H%M%S.%f}Z"


class BackupFolder:
    """Where backups are written. One process at a time writes there; reading needs no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Make the folder, keep other writers out, and take away what an interrupted one has left.

        Raises:
            BackupRunning: another process writes there.
            BackupFailed: the folder can't be made or written to.
        """
        try:
            make_private_folder(self.path)
            make_private_file(self.path / _LOCK)
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise BackupFailed(str(self.path), error.strerror or str(error)) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BackupRunning(str(self.path)) from None
            self._remove_leftovers()
            yield
        finally:
            os.close(lock)

    @contextmanager
    def new(self, name: str) -> Iterator[Path]:
        """An empty file, its owner's alone, for a new backup's database; gone again if anything is raised.

        The manifest's unfinished file is there from the first moment until :meth:`finish`, so that
        whatever a crash leaves is known to be unfinished.
        """
        partial = self.path / f"{name}.db{_PART}"
        try:
            make_private_file(self._unfinished(name))
            make_private_file(partial)
            yield partial
        except BaseException as error:
            self._remove(name)
            if isinstance(error, OSError):
                raise BackupFailed(str(self.path), error.strerror or str(error)) from error
            raise

    def finish(self, name: str, manifest: Manifest) -> Backup:
        """Give both files their names, lastingly; from here on it is a whole backup."""
        unfinished, file = self._unfinished(name), self.path / f"{name}.db"
        unfinished.write_bytes(dump_manifest(manifest))
        sync(unfinished)
        (self.path / f"{name}.db{_PART}").rename(file)
        unfinished.rename(self.path / f"{name}.json")
        sync(self.path)
        return Backup(file, manifest)

    def whole(self) -> tuple[list[Backup], list[BackupError]]:
        """The backups in it, the newest first, as far as their sizes tell, and what is wrong with the others."""
        found, broken = list[Backup](), list[BackupError]()
        for file in sorted(self.path.glob("agent-storage-*.json"), reverse=True):
            if _NAME.fullmatch(file.stem):
                try:
                    found.append(open_backup(file))
                except BackupError as error:
                    broken.append(error)
        return found, broken

    def keep(self, newest: int, store_id: str | None) -> list[Path]:
        """Delete all whole backups of that store but the ``newest``; returns the files that are gone."""
        backups = [each for each in self.whole()[0] if each.manifest.store_id == store_id]
        gone = backups[newest:]
        for backup in gone:
            # In this order: a backup whose manifest alone is left is known to be no whole one.
            backup.file.unlink(missing_ok=True)
            backup.file.with_suffix(".json").unlink(missing_ok=True)
        return [backup.file for backup in gone]

    def _unfinished(self, name: str) -> Path:
        return self.path / f"{name}.json{_PART}"

    def _remove_leftovers(self) -> None:
        for file in self.path.glob(f"agent-storage-*.json{_PART}"):
            name = file.name.removesuffix(f".json{_PART}")
            if _NAME.fullmatch(name):
                self._remove(name)

    def _remove(self, name: str) -> None:
        """The unfinished backup of that name; what says that it is unfinished goes last."""
        with suppress(OSError):
            for suffix in (f".db{_PART}", *(f".db{_PART}{log}" for log in _LOGS), ".db"):
                (self.path / f"{name}{suffix}").unlink(missing_ok=True)
            self._unfinished(name).unlink(missing_ok=True)


def open_backup(path: Path) -> Backup:
    """The backup of which ``path`` is the database or the manifest.

    Raises:
        BackupUnusable: it isn't whole, or no backup.
        BackupTooNew: it has a manifest that this version can't read.
    """
    if path.suffix not in {".db", ".json"}:
        raise BackupUnusable(
            str(path), "a backup is a file that ends in .db, with its manifest, .json, beside it"
        )
    file = path.with_suffix(".db") if path.suffix == ".json" else path
    manifest = load_manifest(path.with_suffix(".json"))
    try:
        size_bytes = file.stat().st_size
    except OSError as error:
        raise BackupUnusable(str(file), error.strerror or str(error)) from error
    if size_bytes != manifest.size_bytes:
        raise BackupUnusable(
            str(file), f"it has {size_bytes:,} bytes and its manifest says {manifest.size_bytes:,}"
        )
    return Backup(file, manifest)


def find_backup(path: Path, advance: Advance) -> tuple[Backup, list[BackupError]]:
    """The backup at ``path``, or the newest whole one of a folder, with why newer ones were passed over.

    Its file was read to its end and is what its manifest says.

    Raises:
        BackupMissing: there is none.
        BackupUnusable, BackupTooNew: from :func:`open_backup`, for a path that is a file.
    """
    if not path.exists():
        raise BackupMissing(str(path), "there is no such file or folder")
    if not path.is_dir():
        backup = open_backup(path)
        _require_same(backup, advance)
        return backup, []
    found, broken = BackupFolder(path).whole()
    for backup in found:
        try:
            _require_same(backup, advance)
        except BackupUnusable as error:
            broken.append(error)
        else:
            newer = [error for error in broken if _file_of(error) > str(backup.file.with_suffix(""))]
            return backup, newer
    if broken:
        raise broken[0]
    raise BackupMissing(str(path), "the folder holds none that `agent-storage backup` has made")


def find_dump(path: Path) -> Path:
    """The dump of PostgreSQL's at ``path``, or the newest in that folder that `agent-storage backup` has named.

    Raises:
        BackupMissing: there is none.
        BackupUnusable: that file isn't what ``pg_dump --format=custom`` makes.
    """
    if not path.exists():
        raise BackupMissing(str(path), "there is no such file or folder")
    if path.is_dir():
        dumps = sorted(file for file in path.glob("agent-storage-*.dump") if _NAME.fullmatch(file.stem))
        if not dumps:
            raise BackupMissing(str(path), "the folder holds no dump with a name from `agent-storage backup`")
        path = dumps[-1]
    try:
        with path.open("rb") as opened:
            head = opened.read(len(MAGIC))
    except OSError as error:
        raise BackupUnusable(str(path), error.strerror or str(error)) from error
    if head != MAGIC:
        raise BackupUnusable(str(path), "it isn't what `pg_dump --format=custom` makes")
    return path.absolute()


def digest(file: Path, advance: Advance) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    total, done, made = file.stat().st_size, 0, hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            made.update(chunk)
            done += len(chunk)
            advance(done, total)
    return made.hexdigest()


def sync(path: Path) -> None:
    """Have a file or folder outlast a loss of power."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _require_same(backup: Backup, advance: Advance) -> None:
    if digest(backup.file, advance) != backup.manifest.sha256:
        raise BackupUnusable(str(backup.file), "its content isn't what its manifest says; it was changed")


def _file_of(error: BackupError) -> str:
    return str(getattr(error, "file", ""))
