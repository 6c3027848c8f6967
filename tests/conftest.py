"""Fixtures shared by all tests: an engine on a fresh, migrated database of each dialect, and an executor."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine
from support.postgres import PostgresServer, open_test_engine, running_server

from app import schema
from app.database import Database
from app.executor import BoundedExecutor, Lane

# A busy machine is no fault of the code's.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

DIALECTS = ("sqlite", "postgres")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that nobody writes to."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = open_test_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server a test process."""
    with running_server() as server:
        yield server


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "test.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    name, url = postgres_server.create()
    yield url
    postgres_server.drop(name)


@pytest.fixture(params=DIALECTS)
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh, migrated database, once a dialect."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def _engine(url: str) -> Iterator[Engine]:
    engine = open_test_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    yield from _engine(sqlite_url)


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    yield from _engine(postgres_url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh, migrated database, once a dialect."""
    yield from _engine(database_url)


@pytest.fixture
def executor() -> Iterator[BoundedExecutor]:
    executor = BoundedExecutor(max_workers=16)
    yield executor
    assert executor.close(timeout_s=10.0), "a call still ran at the end of the test"


@pytest.fixture
def make_lane(executor: BoundedExecutor) -> Callable[..., Lane]:
    """``make_lane(name, limit=4, max_waiting=1000, wait_timeout_s=30.0)``: a lane of this test's executor."""

    def make(name: str, *, limit: int = 4, max_waiting: int = 1000, wait_timeout_s: float = 30.0) -> Lane:
        return executor.lane(name, limit=limit, max_waiting=max_waiting, wait_timeout_s=wait_timeout_s)

    return make


@pytest.fixture
def database(engine: Engine, make_lane: Callable[..., Lane]) -> Database:
    """A Database over ``engine``, on a lane of 8."""
    return Database(engine, make_lane("database", limit=8))
