"""The command ``agent-storage chaos``."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import Json, at_home, usage_error
from app.cli.index_jobs import first_of
from app.cli.output import fail, note, print_json, print_table, progress, say
from app.errors import AgentStorageError
from app.exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from app.cli.chaos.books import Report
    from app.cli.chaos.place import Place

BROKEN = 4
_MINUTE_S = 60.0


def chaos(
    minutes: Annotated[
        float, typer.Option(min=0.05, max=24 * 60, help="How long the load and the faults last.")
    ] = 5.0,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            callback=at_home,
            help="An empty folder for the test's stores and logs, which are kept. Default: a temporary one, deleted if all "
            "checks pass.",
        ),
    ] = None,
    copy_of: Annotated[
        Path | None,
        typer.Option(
            "--copy-of",
            metavar="BACKUP",
            callback=at_home,
            help="Begin with the content of this backup, which stays as it is, instead of an empty store.",
        ),
    ] = None,
    qdrant: Annotated[
        Path | None,
        typer.Option(
            "--qdrant",
            metavar="PROGRAM",
            callback=at_home,
            help="Test with a Qdrant server, instead of the embedded engine: the path of its program. It is killed, too.",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            metavar="URL",
            help="Test on this PostgreSQL database, which must be empty, instead of on SQLite.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Repeat the faults of an earlier test, which printed its seed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Test whether crashes lose data on this machine, in a store made for the test, never in yours.

    A service is started in a separate folder. While made-up extractions are stored, replaced,
    deleted and searched, its processes are killed and suspended, and its disk is full for a while.
    Afterwards the command checks that everything that the service confirmed is there, that nothing
    is there twice, that nothing deleted is back, and that index and database agree. Exit code 4 if
    a check fails.
    """
    if database_url is not None and copy_of is not None:
        usage_error("--copy-of is only for SQLite; restore into the PostgreSQL database with pg_restore")
    if database_url is not None and qdrant is None:
        usage_error("--database-url requires --qdrant, too: several processes can't share the embedded engine")
    if qdrant is not None and not (qdrant.is_file() and os.access(qdrant, os.X_OK)):
        fail(f"{qdrant} can't be run; give --qdrant the path of a Qdrant server's program")
    place = _made_folder(folder)
    report = _run(_place_in(place, qdrant, database_url), minutes * _MINUTE_S, copy_of, seed)
    if folder is None and report.held:
        shutil.rmtree(place, ignore_errors=True)
    else:
        note(f"The stores and the logs are in {place}.")
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)
    raise typer.Exit(0 if report.held else BROKEN)


def _made_folder(folder: Path | None) -> Path:
    """The empty folder to work in; a temporary one for None."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="agent-storage-chaos-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        fail(f"{folder} isn't empty; name an empty folder, or one that doesn't exist")
    made = folder.resolve()
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{made} can't be created: {error.strerror}")
    return made


def _place_in(folder: Path, qdrant: Path | None, database_url: str | None) -> "Place":
    from app.cli.chaos.place import Place
    from app.config import Settings
    from app.settings.sources import ALIASES, setting_keys

    names = [key.replace(".", "_", 1) for key in setting_keys(Settings)]
    if database_url is not None:
        _require_empty(database_url)
    return Place(folder, [*names, *ALIASES], qdrant=qdrant, database_url=database_url)


def _require_empty(database_url: str) -> None:
    from sqlalchemy import inspect

    from app.database import open_engine
    from app.settings.sections import DatabaseSettings
    from app.sql.errors import translated_errors

    engine = open_engine(DatabaseSettings(url=database_url))
    try:
        with translated_errors(engine):
            tables = inspect(engine).get_table_names()
    except AgentStorageError as error:
        fail(error)
    finally:
        engine.dispose()
    if tables:
        fail("the database of --database-url isn't empty; create one in which nothing can be lost")


def _run(place: "Place", seconds: float, copy_of: Path | None, seed: int | None) -> "Report":
    from app.cli.chaos.running import run_chaos
    from app.cli.remote.connection import Patience
    from app.cli.remote.parts import open_remote

    patience = Patience(all_tries_s=20.0, absent_s=20.0)
    drawn = secrets.randbits(32) if seed is None else seed
    try:
        if copy_of is not None:
            place.run("restore", str(copy_of.resolve()), "--overwrite")
            place.run("verify", "--repair")
        with progress() as display:
            bar = display.add_task("starting", total=None)
            return asyncio.run(
                run_chaos(
                    place,
                    lambda: open_remote(place.url, "", patience=patience),
                    seconds=seconds,
                    seed=drawn,
                    told=lambda what: display.update(bar, description=what),
                )
            )
    except (AgentStorageError, ExceptionGroup) as error:
        note(f"The logs are in {place.folder}; --seed {drawn} repeats these faults.")
        fail(first_of(error) if isinstance(error, ExceptionGroup) else error)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        place.end()


def _print(report: "Report") -> None:
    print_table(("fault", "times"), _rows(report.faults))
    print_table(("request", "count"), [*_rows(report.counts), *_rows(report.refusals, "refused: ")])
    print_table(
        ("check", "found"),
        [
            ("confirmed facts that are missing", report.lost),
            ("facts that are there twice", report.doubled),
            ("deleted facts that are back", report.returned),
            ("jobs that failed permanently", report.failed_jobs),
            ("differences between index and database, before a repair", report.differing),
            ("differences that are left after one repair", report.left),
        ],
    )
    for name, reason in report.not_tried.items():
        say(f"Not tried: {name}: {reason}.")
    verdict = "All checks passed" if report.held else "A check failed"
    say(f"{verdict}, in {report.seconds:,.0f} s; --seed {report.seed} repeats these faults.")


def _rows(counts: Mapping[str, int], before: str = "") -> list[tuple[str, int]]:
    return [(before + name, count) for name, count in sorted(counts.items())]
