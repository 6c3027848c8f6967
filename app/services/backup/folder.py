"""A folder of backups. Each has two files, named by its time; the manifest is written last."""

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
"""Called with the bytes read and the total; if it raises, the work ends."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup with a readable manifest and a file of the right size."""

    file: Path
    manifest: Manifest


def name_for(moment: datetime) -> str:
    """The name of a backup that began at ``moment``, in UTC; names sort by time."""
    return f"agent-storage-{moment:%Y%m%dT%H%M%S.%f}Z"


class BackupFolder:
    """A folder of backups. One process at a time writes to it; reading needs no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Create the folder, lock out other writers, and remove leftovers of interrupted ones.

        Raises:
            BackupRunning: another process is writing to the folder.
            BackupFailed: the folder can't be created or written to.
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
        """An empty private file for a new backup's database, removed on any error.

        The manifest's unfinished file exists from the start until :meth:`finish`, so that leftovers
        of a crash can be recognised.
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
        """Give both files their final names, durably; from here on, the backup is complete."""
        unfinished, file = self._unfinished(name), self.path / f"{name}.db"
        unfinished.write_bytes(dump_manifest(manifest))
        sync(unfinished)
        (self.path / f"{name}.db{_PART}").rename(file)
        unfinished.rename(self.path / f"{name}.json")
        sync(self.path)
        return Backup(file, manifest)

    def whole(self) -> tuple[list[Backup], list[BackupError]]:
        """The complete backups, newest first, judged by size, and the errors of the others."""
        found, broken = list[Backup](), list[BackupError]()
        for file in sorted(self.path.glob("agent-storage-*.json"), reverse=True):
            if _NAME.fullmatch(file.stem):
                try:
                    found.append(open_backup(file))
                except BackupError as error:
                    broken.append(error)
        return found, broken

    def keep(self, newest: int, store_id: str | None) -> list[Path]:
        """Delete that store's complete backups except the ``newest``; return the deleted files."""
        backups = [each for each in self.whole()[0] if each.manifest.store_id == store_id]
        gone = backups[newest:]
        for backup in gone:
            # In this order, because a manifest without its file is recognised as incomplete.
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
        """Remove the unfinished backup with that name; its unfinished manifest goes last."""
        with suppress(OSError):
            for suffix in (f".db{_PART}", *(f".db{_PART}{log}" for log in _LOGS), ".db"):
                (self.path / f"{name}{suffix}").unlink(missing_ok=True)
            self._unfinished(name).unlink(missing_ok=True)


def open_backup(path: Path) -> Backup:
    """Open the backup whose database or manifest is at ``path``.

    Raises:
        BackupUnusable: it isn't complete, or isn't a backup.
        BackupTooNew: this version can't read its manifest.
    """
    if path.suffix not in {".db", ".json"}:
        raise BackupUnusable(str(path), "a backup is a .db file with its manifest, a .json file, beside it")
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
    """Find the backup at ``path``, or the newest whole one of a folder, and check its file.

    Returns it with the reasons why newer ones were skipped. The file is read to its end, and has
    its manifest's hash.

    Raises:
        BackupMissing: there is none.
        BackupUnusable, BackupTooNew: see :func:`open_backup`, if the path is a file.
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
    """Find PostgreSQL's dump at ``path``, or a folder's newest with a name of agent-storage.

    Raises:
        BackupMissing: there is none.
        BackupUnusable: the file isn't a dump of ``pg_dump --format=custom``.
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
    """Flush a file or folder to disk, so that it survives a power failure."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _require_same(backup: Backup, advance: Advance) -> None:
    if digest(backup.file, advance) != backup.manifest.sha256:
        raise BackupUnusable(str(backup.file), "its content doesn't match its manifest; it was changed")


def _file_of(error: BackupError) -> str:
    return str(getattr(error, "file", ""))
