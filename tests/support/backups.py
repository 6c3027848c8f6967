"""Helpers for tests of backups: the rows of a store, and the container of its commands."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from containers import Container, create_container, running
from support.parts import settings_for

Rows = dict[str, list[tuple[Any, ...]]]


def rows_of(file: Path, *, resting: bool = False) -> Rows:
    """Every row of every table of a SQLite file, in order.

    With ``resting``, the file isn't in use, and SQLite makes no files beside it.
    """
    how = "immutable=1" if resting else "mode=ro"
    with closing(sqlite3.connect(f"{file.as_uri()}?{how}", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return {
            name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr)  # noqa: S608 - a table name
            for (name,) in tables.fetchall()
        }


@contextmanager
def command_on(folder: Path, **sections: Any) -> Iterator[Container]:
    """The container as ``backup`` and ``restore`` open it, without migration and checks."""
    with running(create_container(settings_for(folder, **sections)), migrate=False, check=False) as container:
        yield container


def ignore(_step: str, _done: int, _total: int) -> None:
    """Ignore the progress of a task."""
