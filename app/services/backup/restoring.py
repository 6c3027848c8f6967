"""Restore a backup over SQLite's file, on the caller's thread."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.database import open_engine
from app.errors import (
    BackupFailed,
    BackupTooNew,
    BackupUnusable,
    DatabaseDamaged,
    DatabaseDiskFull,
    DatabaseError,
    StoreHasData,
)
from app.private_files import make_private_file
from app.services.backup.folder import Backup, find_backup
from app.services.backup.work import Work
from app.settings.sections import DatabaseSettings
from app.sql import schema, sqlite_copy
from app.sql.contents import Contents, read_contents

_BESIDE = ("-shm", "-wal", "-journal", "")
"""The suffixes of a database's files, the database last.

A log without its database is harmless, but a new database beside an old log isn't.
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """The outcome of a restore.

    ``contents`` are the store's contents now, ``replaced`` the counts of the old ones. An
    unreadable database was moved to ``moved_to``. ``passed_over`` has the reasons why newer
    backups in the folder weren't used.
    """

    backup: Backup
    contents: Contents
    replaced: Mapping[str, int]
    moved_to: Path | None
    passed_over: list[str]


def restore_backup(target: Path, path: Path, work: Work, *, overwrite: bool) -> Restored:
    """Replace the contents of the database ``target`` with those of the backup at ``path``.

    No other process can open the database from the first check until the end. Raises what
    :meth:`BackupService.restore` raises.
    """
    with ExitStack() as stack:
        store, replaced = _take(target, stack, overwrite=overwrite)
        backup, passed_over = find_backup(path, work.step("reading"))
        with _ready(backup, target, work) as ready:
            moved_to = None
            if store is None:
                moved_to = _move_aside(target)
                store = stack.enter_context(sqlite_copy.alone(target))
            sqlite_copy.copy_over(ready, store, str(target), work.step("restoring"))
            with sqlite_copy.resting(ready) as connection:
                wanted = _contents(connection, ready)
        contents = _contents(store, target)
        if contents != wanted:
            raise BackupFailed(str(target), "the restored database differs from the backup")
    return Restored(backup, contents, replaced, moved_to, [str(error) for error in passed_over])


def held(counts: Mapping[str, int]) -> str:
    """A store's contents, for messages."""
    return "holds " + ", ".join(
        f"{count:,} {name.removesuffix('s') if count == 1 else name}" for name, count in counts.items() if count
    )


def _take(
    target: Path, stack: ExitStack, *, overwrite: bool
) -> "tuple[sqlite_copy.Driver | None, Mapping[str, int]]":
    """Open the database exclusively until ``stack`` closes, and count its contents.

    None if it can't be read.
    """
    try:
        with ExitStack() as opening:
            store = opening.enter_context(sqlite_copy.alone(target))
            contents = _contents(store, target)
            if not contents.is_empty and not overwrite:
                raise StoreHasData(str(target), held(contents.counts))
            stack.push(opening.pop_all())
    except DatabaseDamaged as error:
        if not overwrite:
            raise StoreHasData(str(target), f"is damaged ({error.code})") from error
        return None, {}
    return store, contents.counts


def _contents(connection: "sqlite_copy.Driver", file: Path) -> Contents:
    with sqlite_copy.wrapped(connection, file) as ours:
        return read_contents(ours)


@contextmanager
def _ready(backup: Backup, target: Path, work: Work) -> Iterator[Path]:
    """The backup at this version's schema: its own file, or a migrated copy."""
    _require_sound(backup, work)
    if backup.manifest.schema_revision == schema.HEAD:
        yield backup.file
        return
    staged = target.with_name(f"{target.name}.restoring")
    try:
        _migrate_copy(backup, staged)
        yield staged
    finally:
        _remove(staged)


def _require_sound(backup: Backup, work: Work) -> None:
    revision = backup.manifest.schema_revision
    if revision != schema.HEAD and revision not in schema.known_revisions():
        found, known = f"schema {revision}", f"schema {schema.HEAD}"
        raise BackupTooNew(str(backup.file), backup.manifest.version, found, known)
    work.step("checking")(0, 1)
    with sqlite_copy.resting(backup.file) as connection:
        damage = sqlite_copy.find_damage(connection, work.is_stopped)
        work.step("checking")(1, 1)
        if damage is not None:
            raise BackupUnusable(str(backup.file), f"SQLite's check finds it damaged ({damage})")
        found_revision = _contents(connection, backup.file).revision
    if found_revision != revision:
        raise BackupUnusable(
            str(backup.file), f"its schema is {found_revision} and its manifest says {revision}"
        )


def _migrate_copy(backup: Backup, staged: Path) -> None:
    try:
        _remove(staged)  # left by a restore that was killed
        make_private_file(staged)
        shutil.copyfile(backup.file, staged)
    except OSError as error:
        raise BackupFailed(str(staged), error.strerror or str(error)) from error
    engine = open_engine(DatabaseSettings(url=f"sqlite:///{staged}"))
    try:
        schema.upgrade(engine)
    except DatabaseDiskFull:
        raise
    except DatabaseError as error:
        raise BackupUnusable(
            str(backup.file), f"it can't be brought to schema {schema.HEAD}: {error}"
        ) from error
    finally:
        engine.dispose()


def _move_aside(target: Path) -> Path:
    moved_to = target.with_name(f"{target.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    try:
        for suffix in _BESIDE:
            file = target.with_name(target.name + suffix)
            if file.exists():
                file.rename(moved_to.with_name(moved_to.name + suffix))
    except OSError as error:
        raise BackupFailed(str(target), error.strerror or str(error)) from error
    return moved_to


def _remove(staged: Path) -> None:
    for suffix in _BESIDE:
        staged.with_name(staged.name + suffix).unlink(missing_ok=True)
