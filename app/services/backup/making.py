"""Back up SQLite's file, on the caller's thread."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from app.errors import DatabaseDamaged, NothingToBackUp
from app.services.backup.folder import Backup, BackupFolder, digest, name_for, sync
from app.services.backup.manifest import PRODUCT, Manifest
from app.services.backup.work import Work
from app.sql import sqlite_copy
from app.sql.contents import Contents, read_contents


def make_backup(source: Path, folder: BackupFolder, work: Work) -> Backup:
    """Copy the database ``source``, check the copy, and give it its name.

    The caller must hold the folder's lock. Raises what :meth:`BackupService.back_up` raises.
    """
    if not source.is_file() or source.stat().st_size == 0:
        raise NothingToBackUp(str(source))
    began_at = datetime.now(UTC)
    name = name_for(began_at)
    with folder.new(name) as partial:
        with sqlite_copy.reading(source) as connection:
            sqlite_copy.copy_to_new(connection, partial, work.step("copying"))
        sync(partial)
        contents = _checked(partial, source, work)
        if contents.revision is None:
            raise NothingToBackUp(str(source))
        manifest = Manifest(
            version=version(PRODUCT),
            schema_revision=contents.revision,
            store_id=contents.store_id,
            counts=dict(contents.counts),
            file=f"{name}.db",
            size_bytes=partial.stat().st_size,
            sha256=digest(partial, work.step("hashing")),
            began_at=began_at,
            ended_at=datetime.now(UTC),
        )
        return folder.finish(name, manifest)


def _checked(copy: Path, source: Path, work: Work) -> Contents:
    """Check a copy, and read its contents. Damage is the database's: pages are copied unchanged."""
    work.step("checking")(0, 1)
    with sqlite_copy.resting(copy) as connection:
        damage = sqlite_copy.find_damage(connection, work.is_stopped)
        work.step("checking")(1, 1)
        if damage is not None:
            raise DatabaseDamaged(str(source), damage)
        with sqlite_copy.wrapped(connection, copy) as ours:
            return read_contents(ours)
