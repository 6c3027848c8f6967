"""The SQL backends that tests run on, and their abilities.

A test runs on all backends with the abilities that it needs. No test names a backend, unless it is
about that backend.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from support.postgres import open_test_engine

URL = "url"
"""Another engine, in this process or another one, can open the same database."""

CONNECTIONS = "connections"
"""Several transactions can run at once."""


@dataclass(frozen=True)
class Backend:
    """A backend. ``lane_limit`` is how many transactions the settings would run at once."""

    name: str
    abilities: frozenset[str]
    lane_limit: int = 8

    def __str__(self) -> str:
        return self.name


MEMORY = Backend("memory", frozenset(), lane_limit=1)
BACKENDS = (
    Backend("sqlite", frozenset({URL, CONNECTIONS})),
    MEMORY,
    Backend("postgres", frozenset({URL, CONNECTIONS})),
)


def backends_for(metafunc: pytest.Metafunc) -> list[Backend]:
    """The backends for a test; the one in memory only for the suites of a contract."""
    needs = {need for mark in metafunc.definition.iter_markers("needs") for need in mark.args}
    if "database_url" in metafunc.fixturenames:
        needs.add(URL)
    in_contract = metafunc.definition.get_closest_marker("contract") is not None
    return [each for each in BACKENDS if needs <= each.abilities and (in_contract or each is not MEMORY)]


def open_memory_engine(template: Path) -> Engine:
    """An engine on an in-memory copy of a migrated SQLite file.

    It has one connection, which all threads share.
    """
    engine = open_test_engine("sqlite://")
    with closing(sqlite3.connect(template)) as source, engine.connect() as connection:
        ours: Any = connection.connection.driver_connection
        source.backup(ours)
    return engine
