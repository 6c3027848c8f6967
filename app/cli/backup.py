"""``agent-storage backup`` and ``agent-storage restore``."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from app.cli.command_parts import CommandParts
from app.cli.context import Json, at_home, context_of, no_api, run, usage_error
from app.cli.output import counted, fail, note, print_json, print_table, progress, say, shown_moment
from app.cli.stores import IfMissing
from app.errors import NothingToBackUp

if TYPE_CHECKING:
    from rich.progress import TaskID

    from app.services.backup.folder import Backup
    from app.services.backup.restoring import Restored
    from app.services.backup.service import BackedUp, StoreCheck
    from app.services.backup.work import Report

T = TypeVar("T")

REPAIR = "agent-storage verify --repair"
_SQLITE = "sqlite"
_NOUNS = {"extractions": "extraction", "sources": "source", "projects": "project", "jobs": "job"}
_MEGABYTE = 1e6
_BACKUP_NEAR = (
    "a backup copies the database file; run it on the service's machine (the service may keep running)"
)
_RESTORE_NEAR = "a restore replaces the database file; stop the service, and run it on the service's machine"


def backup(
    ctx: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder of backups, created if missing.", file_okay=False, callback=at_home
        ),
    ],
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Delete all but the newest N backups of this store in DIR."),
    ] = None,
    _api: Annotated[str | None, no_api(_BACKUP_NEAR)] = None,
    as_json: Json = False,
) -> None:
    """Back up the database. Services may keep running.

    The index needs no backup, because it can be rebuilt from the database.

    SQLite: takes a consistent snapshot, checks it, and writes a manifest beside it. The command
    needs the database file, and so has no --api.

    PostgreSQL: prints the pg_dump command to run.
    """
    if _dialect(ctx) != _SQLITE:
        if keep is not None:
            fail(
                "--keep deletes backups made by this command, but on PostgreSQL pg_dump makes them; leave it out"
            )
        _print_dump_command(ctx, folder, as_json=as_json)
        return
    _require_database(ctx)
    made = _run(ctx, lambda parts: _back_up(parts, folder, keep))
    if as_json:
        print_json({**_described(made.backup), "deleted": [str(file) for file in made.deleted]})
        return
    _print_backed_up(made)


def _print_backed_up(made: "BackedUp") -> None:
    manifest = made.backup.manifest
    deleted = f" Deleted {counted(len(made.deleted), 'older backup')}." if made.deleted else ""
    say(
        f"Backed up {_listed(manifest.counts)} to {made.backup.file} ({manifest.size_bytes / _MEGABYTE:,.1f} MB, "
        f"checked).{deleted}"
    )


async def _back_up(parts: CommandParts, folder: Path, keep: int | None) -> "BackedUp":
    with _reporting() as report:
        return await parts.backups().back_up(folder, report, keep=keep)


def _print_dump_command(ctx: typer.Context, folder: Path, *, as_json: bool) -> None:
    absolute = folder.absolute()

    async def find(parts: CommandParts) -> tuple[str, Path, bool]:
        backups = parts.backups()
        return *backups.dump_command(absolute), backups.commands_need_password()

    command, file, needs_password = _run(ctx, find)
    if as_json:
        print_json({"dialect": "postgresql", "command": command, "file": str(file)})
        return
    note("PostgreSQL is backed up by pg_dump, while services keep running. Nothing was written yet; run:")
    say(command)
    _note_password(needs=needs_password)


def restore(
    ctx: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR_OR_FILE",
            help="A backup, or a folder of backups: the newest one that is complete and unchanged is restored.",
            callback=at_home,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", "--yes", "-y", help="Replace a database that holds data; that data is lost."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Restore nothing; say what the database holds, and whether this version can use it."
        ),
    ] = False,
    _api: Annotated[str | None, no_api(_RESTORE_NEAR)] = None,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the database.

    Before: stop the service, and everything else that uses the database. After: run `agent-storage
    verify --repair`, because a backup has no index, and the present one may not fit.

    SQLite: the backup is checked, and brought to this version's schema if it is older. Then it
    replaces the database, at once and as a whole: if that fails or is interrupted, the database
    stays as it was. The command works on the database file, and so has no --api.

    PostgreSQL: nothing is restored. The command prints the pg_restore command to run. After that,
    `agent-storage restore --check` says whether the database is complete.
    """
    if check:
        if path is not None or overwrite:
            usage_error(
                "--check takes no backup and replaces nothing; run `restore` first, and then `restore --check`"
            )
        _print_check(_run(ctx, lambda parts: parts.backups().check()), as_json=as_json)
        return
    if path is None:
        usage_error("name the backup, or the folder of backups: `agent-storage restore DIR`")
    if _dialect(ctx) != _SQLITE:
        _print_restore_command(ctx, path, overwrite=overwrite, as_json=as_json)
        return
    done = _run(ctx, lambda parts: _restore(parts, path, overwrite=overwrite), missing=IfMissing.CREATE)
    for reason in done.passed_over:
        note(f"Skipped: {reason}")
    if as_json:
        print_json(_as_dict(done))
        return
    _print_restored(done)


def _print_restored(done: "Restored") -> None:
    manifest = done.backup.manifest
    if done.moved_to is not None:
        note(f"Moved the damaged database to {done.moved_to}.")
    migrated = (
        ""
        if manifest.schema_revision == done.contents.revision
        else f" Its schema was migrated from {manifest.schema_revision} to {done.contents.revision}."
    )
    say(
        f"Restored {_listed(done.contents.counts)} from {done.backup.file}, as of {shown_moment(manifest.began_at, seconds=True)} "
        f"UTC.{migrated}"
    )
    note(f"The index may not fit the restored database yet: run `{REPAIR}` now.")


async def _restore(parts: CommandParts, path: Path, *, overwrite: bool) -> "Restored":
    with _reporting() as report:
        return await parts.backups().restore(path, report, overwrite=overwrite)


def _as_dict(done: "Restored") -> dict[str, object]:
    return {
        **_described(done.backup),
        "restored": {
            "schema_revision": done.contents.revision,
            "store_id": done.contents.store_id,
            "counts": done.contents.counts,
        },
        "replaced": done.replaced,
        "moved_to": None if done.moved_to is None else str(done.moved_to),
        "passed_over": done.passed_over,
        "next": REPAIR,
    }


def _print_restore_command(ctx: typer.Context, path: Path, *, overwrite: bool, as_json: bool) -> None:
    async def find(parts: CommandParts) -> tuple[str, Path, bool]:
        found = await parts.backups().restore_command(path, overwrite=overwrite)
        return *found, parts.backups().commands_need_password()

    command, file, needs_password = _run(ctx, find)
    afterwards = ["agent-storage db upgrade", "agent-storage restore --check", REPAIR]
    if as_json:
        print_json({"dialect": "postgresql", "command": command, "file": str(file), "next": afterwards})
        return
    note("PostgreSQL is restored by pg_restore. Nothing was changed yet; stop what uses the database, and run:")
    say(command)
    _note_password(needs=needs_password)
    note(f"Then run {', '.join(f'`{each}`' for each in afterwards)}.")


def _print_check(found: "StoreCheck", *, as_json: bool) -> None:
    contents = found.contents
    if as_json:
        print_json(
            {
                "usable": found.is_usable,
                "schema_revision": contents.revision,
                "expected_revision": found.expected_revision,
                "store_id": contents.store_id,
                "counts": contents.counts,
                "missing": found.missing,
                "damage": found.damage,
            }
        )
    else:
        rows = [("schema", contents.revision or "none"), ("store", contents.store_id or "no id yet")]
        print_table(("", "found"), [*rows, *((name, f"{count:,}") for name, count in contents.counts.items())])
        for problem in _problems(found):
            note(problem)
        say(
            f"This version can use it. Next: `{REPAIR}`."
            if found.is_usable
            else "This version can't use it as it is."
        )
    if not found.is_usable:
        raise typer.Exit(1)


def _problems(found: "StoreCheck") -> Iterator[str]:
    revision, expected = found.contents.revision, found.expected_revision
    if found.damage is not None:
        yield f"SQLite reports that the database is damaged ({found.damage}). Restore another backup."
    if revision is None:
        yield (
            "The database has no tables of agent-storage: the restore failed, or database.url names another database."
        )
    elif revision != expected:
        yield (
            f"The schema is at {revision}, and this version needs {expected}: run `agent-storage db upgrade`. If the "
            "database is newer than this version, install a newer version or restore an older backup."
        )
    elif found.missing:
        yield f"Missing: {', '.join(found.missing)}. The restore failed half-way; restore into an empty database."


def _run(
    ctx: typer.Context,
    command: Callable[[CommandParts], Coroutine[Any, Any, T]],
    *,
    missing: IfMissing = IfMissing.REFUSE,
) -> T:
    """Run a command with the database as it is, even if damaged or with an older schema."""
    return run(ctx, command, index=False, migrate=False, check=False, missing=missing)


@contextmanager
def _reporting() -> Iterator["Report"]:
    """A progress bar for each step, updated from the worker thread."""
    with progress() as display:
        tasks = dict[str, "TaskID"]()

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = display.add_task(step, total=total)
            display.update(tasks[step], completed=done, total=total)

        yield report


def _described(made: "Backup") -> dict[str, object]:
    return {
        "dialect": _SQLITE,
        **made.manifest.model_dump(mode="json"),
        "file": str(made.file),
        "manifest": str(made.file.with_suffix(".json")),
    }


def _listed(counts: Mapping[str, int]) -> str:
    *most, last = (counted(counts.get(name, 0), noun) for name, noun in _NOUNS.items())
    return f"{', '.join(most)} and {last}"


def _note_password(*, needs: bool) -> None:
    if needs:
        note("The password in database.url isn't shown; provide it in PGPASSWORD or ~/.pgpass.")


def _dialect(ctx: typer.Context) -> str:
    return _SQLITE if context_of(ctx).settings().database.url.startswith(_SQLITE) else "postgresql"


def _require_database(ctx: typer.Context) -> None:
    """Fail if there is no database file; opening the database would create it."""
    from sqlalchemy.engine import make_url

    from app.sql.sqlite import file_of

    file = file_of(make_url(context_of(ctx).settings().database.url))
    if file is not None and not file.exists():
        fail(NothingToBackUp(str(file.absolute())))
