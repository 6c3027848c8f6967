"""Make backups while the service runs, restore them, and look at what a restore has left."""

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
    """A database as it is found: what it holds, and what is wrong with it.

    ``missing`` names the parts of this version's schema that it lacks; ``damage`` is what SQLite's
    own check finds.
    """

    contents: Contents
    expected_revision: str
    missing: list[str]
    damage: str | None

    @property
    def is_usable(self) -> bool:
        """Whether this version can work with it."""
        return self.contents.revision == self.expected_revision and not self.missing and self.damage is None


class BackupService:
    """Copies SQLite's file and puts copies back; for PostgreSQL it names the commands that do.

    A cancelled work ends soon. It leaves no part of a backup, and the store as it was.
    """

    def __init__(self, database: Database, files_lane: Lane) -> None:
        self._database = database
        self._files = files_lane

    @property
    def dialect(self) -> str:
        """``sqlite``, whose file is copied here, or ``postgresql``, which its own programs back up."""
        return self._database.dialect

    async def back_up(self, folder: Path, report: Report, *, keep: int | None = None) -> BackedUp:
        """Copy the database into ``folder``, as it is at one moment, and check the copy. Writers go on meanwhile.

        With ``keep``, only so many of this store's whole backups are left in the folder, the
        newest.

        Raises:
            NothingToBackUp: the database isn't there, or was never migrated.
            BackupRunning: another backup is being written there.
            BackupFailed: the folder can't be written to, or its disk is full.
            DatabaseDamaged: the database is; no backup was kept of it, and none deleted.
            BackupUnsupported: the database is no file.
        """
        return await self._run(report, self._back_up, folder, keep)

    async def restore(self, path: Path, report: Report, *, overwrite: bool = False) -> Restored:
        """Have the database hold what the backup at ``path``, or the newest whole one of that folder, does.

        Everything is checked and brought to this version's schema before anything is changed, and
        the change is one transaction. Afterwards the index may differ from SQL, until ``verify
        --repair``.

        Raises:
            StoreInUse: another process has the database open.
            StoreHasData: it holds something, and ``overwrite`` isn't set.
            BackupMissing: there is none.
            BackupUnusable: it isn't whole, or no backup of agent-storage.
            BackupTooNew: a newer version has made it.
            DatabaseDiskFull, BackupFailed: the database can't be written.
            BackupUnsupported: the database is no file.
        """
        return await self._run(report, self._restore, path, overwrite)

    async def check(self) -> StoreCheck:
        """Look at the database as it is, by whatever means it was filled; changes nothing.

        Raises:
            DatabaseUnavailable: it can't be reached.
            DatabaseDamaged: it can't be read.
        """
        return await self._database.read(_check)

    def dump_command(self, folder: Path) -> tuple[str, Path]:
        """What backs a PostgreSQL database up, and the file that it makes."""
        file = folder / f"{name_for(datetime.now(UTC))}.dump"
        return postgres_commands.dump_command(self._database.engine, file), file

    async def restore_command(self, path: Path, *, overwrite: bool = False) -> tuple[str, Path]:
        """What restores the dump at ``path``, or the newest of that folder, and that file. Changes nothing.

        Raises:
            BackupMissing: there is none.
            BackupUnusable: the file isn't what ``pg_dump --format=custom`` makes.
            StoreHasData: the database holds something, and ``overwrite`` isn't set.
        """
        file = await self._files.run(find_dump, path)
        contents = (await self.check()).contents
        if not contents.is_empty and not overwrite:
            raise StoreHasData(str(self._database.engine.url.database), held(contents.counts))
        has_tables = contents.revision is not None
        return postgres_commands.restore_command(self._database.engine, file, overwrite=has_tables), file

    def commands_need_password(self) -> bool:
        """Whether the configured URL holds a password, which the commands leave out."""
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
                str(self._database.engine.url.database), "it is no file that database.url names by its path"
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
