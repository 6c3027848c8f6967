"""Make backups while the service runs, restore them, and check the restored database."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from app.database import Database, ReadSession
from app.errors import BackupUnsupported, StoreHasData
from app.executor import Lane
from app.services.backup.folder import Backup, BackupFolder, find_dump, name_for
from app.services.backup.making import make_backup
from app.services.backup.restoring import Restored, held, restore_backup
from app.services.backup.work import Report, Work
from app.sql import postgres_commands, schema
from app.sql.contents import Contents, missing_parts, read_contents
from app.sql.postgres import NO_TIME_LIMITS
from app.sql.sqlite import file_of
from app.sql.sqlite_copy import find_damage

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A new backup, and the older ones that were deleted."""

    backup: Backup
    deleted: list[Path]


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """The contents of a database, and its faults.

    ``missing`` names the parts of this version's schema that it lacks; ``damage`` is the finding of
    SQLite's own check.
    """

    contents: Contents
    expected_revision: str
    missing: list[str]
    damage: str | None

    @property
    def is_usable(self) -> bool:
        """Whether this version can use the database."""
        return self.contents.revision == self.expected_revision and not self.missing and self.damage is None


class BackupService:
    """Backs up and restores SQLite's file; for PostgreSQL, it gives the commands to run.

    Cancelled work ends soon. It leaves no partial backup, and the store unchanged.
    """

    def __init__(self, database: Database, files_lane: Lane) -> None:
        self._database = database
        self._files = files_lane

    @property
    def dialect(self) -> str:
        """``sqlite``, whose file is copied here, or ``postgresql``, which pg_dump backs up."""
        return self._database.dialect

    async def back_up(self, folder: Path, report: Report, *, keep: int | None = None) -> BackedUp:
        """Copy a snapshot of the database into ``folder``, and check it. Writers go on meanwhile.

        With ``keep``, only the newest ``keep`` complete backups of this store stay in the folder.

        Raises:
            NothingToBackUp: the database doesn't exist, or was never migrated.
            BackupRunning: another backup is being written to the folder.
            BackupFailed: the folder can't be written to, or its disk is full.
            DatabaseDamaged: the database is damaged; the copy was deleted, older backups weren't.
            BackupUnsupported: the database isn't a file.
        """
        return await self._run(report, self._back_up, folder, keep)

    async def restore(self, path: Path, report: Report, *, overwrite: bool = False) -> Restored:
        """Restore the backup at ``path``, or the newest complete one of that folder.

        The backup is checked and migrated to this version's schema before anything changes, and the
        change is one transaction. Afterwards the index may differ from SQL until ``verify
        --repair``.

        Raises:
            StoreInUse: another process has the database open.
            StoreHasData: the database isn't empty, and ``overwrite`` isn't set.
            BackupMissing: there is no backup.
            BackupUnusable: it isn't complete, or isn't a backup of agent-storage.
            BackupTooNew: a newer version made it.
            DatabaseDiskFull, BackupFailed: the database can't be written.
            BackupUnsupported: the database isn't a file.
        """
        return await self._run(report, self._restore, path, overwrite)

    async def check(self) -> StoreCheck:
        """Check the database, however it was filled, without changing it.

        Raises:
            DatabaseUnavailable: the database can't be reached.
            DatabaseDamaged: the database can't be read.
        """
        return await self._database.read(_check)

    def dump_command(self, folder: Path) -> tuple[str, Path]:
        """The command that backs up a PostgreSQL database, and the file that it makes."""
        file = folder / f"{name_for(datetime.now(UTC))}.dump"
        return postgres_commands.dump_command(self._database.engine, file), file

    async def restore_command(self, path: Path, *, overwrite: bool = False) -> tuple[str, Path]:
        """The command that restores the dump at ``path``, or the newest of a folder, and its file.

        Changes nothing.

        Raises:
            BackupMissing: there is no dump.
            BackupUnusable: the file isn't a dump of ``pg_dump --format=custom``.
            StoreHasData: the database isn't empty, and ``overwrite`` isn't set.
        """
        file = await self._files.run(find_dump, path)
        contents = (await self.check()).contents
        if not contents.is_empty and not overwrite:
            raise StoreHasData(str(self._database.engine.url.database), held(contents.counts))
        has_tables = contents.revision is not None
        return postgres_commands.restore_command(self._database.engine, file, overwrite=has_tables), file

    def commands_need_password(self) -> bool:
        """Whether the configured URL has a password, which the commands leave out."""
        return postgres_commands.has_password(self._database.engine)

    async def _run(self, report: Report, work: Callable[[Work, *Ts], T], *args: *Ts) -> T:
        state = Work(report)
        try:
            return await self._files.run(work, state, *args)
        finally:
            state.stop()

    def _back_up(self, work: Work, path: Path, keep: int | None) -> BackedUp:
        source, folder = self._file(), BackupFolder(path.absolute())
        with folder.writing():
            backup = make_backup(source, folder, work)
            deleted = [] if keep is None else folder.keep(keep, backup.manifest.store_id)
        return BackedUp(backup, deleted)

    def _restore(self, work: Work, path: Path, overwrite: bool) -> Restored:
        return restore_backup(self._file(), path.absolute(), work, overwrite=overwrite)

    def _file(self) -> Path:
        file = file_of(self._database.engine.url)
        if file is None:
            raise BackupUnsupported(
                str(self._database.engine.url.database), "database.url doesn't name a file by its path"
            )
        return file.absolute()


def _check(session: ReadSession) -> StoreCheck:
    connection, damage = session.connection(), None
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(NO_TIME_LIMITS)
    else:
        driver: Any = connection.connection.driver_connection
        damage = find_damage(driver, lambda: False)
    return StoreCheck(read_contents(connection), schema.HEAD, missing_parts(connection), damage)
