"""Chooses a command's stores: those of the settings, or those of a running service."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from app.cli.output import note
from app.errors import StoreMissing
from app.service_note import find_holder
from app.settings.places import HOME_VARIABLE, database_file, database_place, described_stores, index_place

if TYPE_CHECKING:
    import typer

    from app.config import Settings
    from app.service_note import Holder

KEY_VARIABLE = "AGENT_STORAGE_API_KEY"


class IfMissing(Enum):
    """What a command does if there is no store yet."""

    REFUSE = auto()
    """It fails, and creates none."""
    CREATE = auto()
    """It creates one, and says where."""
    IMAGINE = auto()
    """It uses an empty one, which is deleted when the command ends."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address, and the key to send, which may be empty."""

    url: str
    key: str = field(repr=False)


class Remote:
    """The parts of a service, whose workers continue its jobs after the command has ended."""


def is_remote(parts: object) -> bool:
    """Whether the parts are a service's, whose workers continue after the command has ended."""
    return isinstance(parts, Remote)


def service_at(url: str) -> Service:
    """The service at ``url``, with the key from the environment."""
    return Service(url, os.environ.get(KEY_VARIABLE, "").strip())


def service_beside(settings: "Settings") -> "Holder | None":
    """The service on this machine that holds the index and uses the same database, if any."""
    if settings.qdrant.mode != "embedded":
        return None
    holder = find_holder(Path(settings.qdrant.path))
    return holder if holder is not None and holder.database == database_place(settings.database.url) else None


def through(holder: "Holder", settings: "Settings") -> Service:
    """The holder as a service, with a key from the settings, or else from the environment."""
    note(f"Going through the service at {holder.url}, which holds {index_place(settings.qdrant)}.")
    keys = settings.api.api_keys
    return Service(holder.url, keys[0].get_secret_value()) if keys else service_at(holder.url)


def is_new(settings: "Settings") -> bool:
    """Whether the SQLite file of the settings doesn't exist yet, or was never written to."""
    file = database_file(settings.database.url)
    return file is not None and not (file.exists() and file.stat().st_size)


def missing_store(settings: "Settings") -> StoreMissing:
    """The error of a command that needs the store, which doesn't exist."""
    return StoreMissing(database_place(settings.database.url))


def _note_creation(settings: "Settings") -> None:
    note(
        f"Creating a store: {described_stores(settings.database.url, settings.qdrant)}. {HOME_VARIABLE} sets another place."
    )


def note_default_project(ctx: "typer.Context", settings: "Settings", api: str | None) -> None:
    """Say in which project and where a command stores, if no --project was given."""
    source = ctx.get_parameter_source("project")
    if source is None or source.name != "DEFAULT":
        return
    where = (
        f", at {api}"
        if api
        else ""
        if is_new(settings)
        else f", in {described_stores(settings.database.url, settings.qdrant)}"
    )
    note(f"No --project was given: storing in project {ctx.params['project']}{where}.")


def of_no_store(settings: "Settings") -> "Settings":
    """The settings for a command that uses no store, with an empty database in memory."""
    return settings.model_copy(update={"database": settings.database.model_copy(update={"url": "sqlite://"})})


@contextmanager
def found_or(missing: IfMissing, settings: "Settings") -> Iterator["Settings"]:
    """The settings of the store that a command uses, and what it does if there is none yet.

    Raises:
        StoreMissing: there is no store, and ``missing`` is ``REFUSE``.
    """
    if not is_new(settings):
        yield settings
        return
    if missing is IfMissing.REFUSE:
        raise missing_store(settings)
    if missing is IfMissing.CREATE:
        _note_creation(settings)
        yield settings
        return
    note(f"Against an empty store, because {missing_store(settings)}")
    with TemporaryDirectory(prefix="agent-storage-") as folder:
        database = {"url": f"sqlite:///{folder}/agent-storage.db"}
        qdrant = {"mode": "embedded", "path": folder}
        yield settings.model_copy(
            update={
                "database": settings.database.model_copy(update=database),
                "qdrant": settings.qdrant.model_copy(update=qdrant),
            }
        )
