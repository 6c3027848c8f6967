"""The SQL backends that tests run on, and what each of them can do.

A test runs on those that can do what it needs; which they are is worked out here, and no test names one of them
unless it is about that one.
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
"""Another engine, of this process or another one, can open the same database."""

CONNECTIONS = "connections"
"""Several transactions run at once."""


@dataclass(frozen=True)
class Backend:
    """``lane_limit`` is how many transactions the settings would let run at once."""

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
    """Those that a test runs on: the one in memory only in the suites of a contract that it keeps itself."""
    needs = {need for mark in metafunc.definition.iter_markers("needs") for need in mark.args}
    if "database_url" in metafunc.fixturenames:
        needs.add(URL)
    in_contract = metafunc.definition.get_closest_marker("contract") is not None
    return [each for each in BACKENDS if needs <= each.abilities and (in_contract or each is not MEMORY)]


def open_memory_engine(template: Path) -> Engine:
    """An engine on a copy in memory of a migrated SQLite file; it has one connection, which all threads share."""
    engine = open_test_engine("sqlite://")
    with closing(sqlite3.connect(template)) as source, engine.connect() as connection:
        ours: Any = connection.connection.driver_connection
        source.backup(ours)
    return engine
