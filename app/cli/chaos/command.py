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
    minutes: Annotated[float, typer.Option(min=0.05, max=24 * 60, help="How long to inject faults.")] = 5.0,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder",
            metavar="DIR",
            callback=at_home,
            help="An empty folder for the stores and logs, which is kept. Default: a temporary one, deleted if all promises "
            "held.",
        ),
    ] = None,
    copy_of: Annotated[
        Path | None,
        typer.Option(
            "--copy-of",
            metavar="BACKUP",
            callback=at_home,
            help="A backup to start with, instead of an empty store.",
        ),
    ] = None,
    qdrant: Annotated[
        Path | None,
        typer.Option(
            "--qdrant",
            metavar="PROGRAM",
            callback=at_home,
            help="A Qdrant server's program, which is started, and killed too.",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option("--database-url", metavar="URL", help="An empty PostgreSQL database, instead of SQLite."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat the fault sequence of an earlier run.")] = None,
    as_json: Json = False,
) -> None:
    """Inject faults into a separate store under load, and check that nothing acknowledged was lost.

    Processes are killed, suspended and denied disk space, while extractions are ingested, replaced,
    deleted and searched. Afterwards, the stores' content is compared with what was acknowledged,
    and the two stores with each other. The stores of the settings are never touched: everything
    happens in a separate folder. Exit code 4 if a promise was broken.
    """
    if database_url is not None and copy_of is not None:
        usage_error("--copy-of is only for SQLite; restore into the PostgreSQL database with pg_restore")
    if database_url is not None and qdrant is None:
        usage_error("--database-url wants --qdrant too: several processes can't share the embedded engine")
    if qdrant is not None and not (qdrant.is_file() and os.access(qdrant, os.X_OK)):
        fail(f"{qdrant} is no program that can be run; give --qdrant the program of a Qdrant server")
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
        note(f"The logs are in {place.folder}; --seed {drawn} repeats this sequence.")
        fail(first_of(error) if isinstance(error, ExceptionGroup) else error)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        place.end()


def _print(report: "Report") -> None:
    print_table(("fault", "times"), _rows(report.faults))
    print_table(("request", "count"), [*_rows(report.counts), *_rows(report.refusals, "refused: ")])
    print_table(
        ("broken promise", "count"),
        [
            ("acknowledged facts that are lost", report.lost),
            ("facts that are stored twice", report.doubled),
            ("deleted facts that are back", report.returned),
            ("jobs that failed permanently", report.failed_jobs),
            ("differences between the stores, before a repair", report.differing),
            ("differences that remain after one repair", report.left),
        ],
    )
    for name, reason in report.not_tried.items():
        say(f"Not tried: {name}: {reason}.")
    verdict = "Every promise held" if report.held else "A promise was broken"
    say(f"{verdict}, in {report.seconds:,.0f} s; --seed {report.seed} repeats this sequence.")


def _rows(counts: Mapping[str, int], before: str = "") -> list[tuple[str, int]]:
    return [(before + name, count) for name, count in sorted(counts.items())]
