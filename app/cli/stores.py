"""Which stores a command works on: those of the settings, or those of a service of this machine that holds them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from app.cli.output import note
from app.service_note import find_holder
from app.settings.places import HOME_VARIABLE, database_file, database_place, index_place, stores_told

if TYPE_CHECKING:
    import typer

    from app.config import Settings
    from app.service_note import Holder

KEY_VARIABLE = "AGENT_STORAGE_API_KEY"


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address, and the key to send, which may be empty."""

    url: str
    key: str = field(repr=False)


class Remote:
    """The parts of a service, which goes on with its jobs when the command has ended."""


def is_remote(parts: object) -> bool:
    """Whether these parts are a service's, so that its workers go on when the command has ended."""
    return isinstance(parts, Remote)


def service_at(url: str) -> Service:
    """The service at that address, with the key of the environment."""
    return Service(url, os.environ.get(KEY_VARIABLE, "").strip())


def service_beside(settings: "Settings") -> "Holder | None":
    """The service of this machine that holds the index, and works on the same database; None where none does."""
    if settings.qdrant.mode != "embedded":
        return None
    holder = find_holder(Path(settings.qdrant.path))
    return holder if holder is not None and holder.database == database_place(settings.database.url) else None


def through(holder: "Holder", settings: "Settings") -> Service:
    """That service, with a key of the settings, which are its own; or else that of the environment."""
    note(f"Going through the service at {holder.url}, which holds {index_place(settings.qdrant)}.")
    keys = settings.api.api_keys
    return Service(holder.url, keys[0].get_secret_value()) if keys else service_at(holder.url)


def is_new(settings: "Settings") -> bool:
    """Whether there is no database yet where SQLite's file would be."""
    file = database_file(settings.database.url)
    return file is not None and not file.exists()


def note_if_new(settings: "Settings") -> None:
    """Say where a command makes a store, before it does."""
    if is_new(settings):
        note(
            f"A new store: {stores_told(settings.database.url, settings.qdrant)}. {HOME_VARIABLE} names another place."
        )


def note_default_project(ctx: "typer.Context", settings: "Settings", api: str | None) -> None:
    """Say which project a command that was told none stores in, and where that is."""
    source = ctx.get_parameter_source("project")
    if source is None or source.name != "DEFAULT":
        return
    where = (
        f", at {api}"
        if api
        else ""
        if is_new(settings)
        else f", in {stores_told(settings.database.url, settings.qdrant)}"
    )
    note(f"No --project was given: storing in project {ctx.params['project']}{where}.")


def of_no_store(settings: "Settings") -> "Settings":
    """The settings for a command that uses no store: of one in memory, which stays empty."""
    return settings.model_copy(update={"database": settings.database.model_copy(update={"url": "sqlite://"})})


@contextmanager
def existing(settings: "Settings") -> Iterator["Settings"]:
    """The settings for a command that makes no store: where there is none, of an empty one that goes at the end."""
    if not is_new(settings):
        yield settings
        return
    note(
        f"There is no store here yet: no database {database_place(settings.database.url)}, and nothing was made. "
        f"`agent-storage ingest` makes one; {HOME_VARIABLE} or --config names another place."
    )
    with TemporaryDirectory(prefix="agent-storage-") as folder:
        database = {"url": f"sqlite:///{folder}/agent-storage.db"}
        qdrant = {"mode": "embedded", "path": folder}
        yield settings.model_copy(
            update={
                "database": settings.database.model_copy(update=database),
                "qdrant": settings.qdrant.model_copy(update=qdrant),
            }
        )
