"""Shared fixtures: engines on new, migrated databases, an executor, and the wheel."""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine
from support.backends import Backend, backends_for, open_memory_engine
from support.lent_postgres import Lender
from support.packages import build_wheel, make_environment
from support.postgres import SHARED_MEMORY, PostgresServer, open_test_engine, running_server
from support.qdrant_server import stop_own_server

from app.database import Database
from app.executor import BoundedExecutor, Lane
from app.sql import schema

# A busy machine is no fault of the code's.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_ROOM_FOR_TESTS = 4 * 2**30


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "contract: a contract that the backend in memory keeps by code of its own"
    )
    config.addinivalue_line("markers", "needs(*abilities): runs only on backends that can do this")
    # Files of tests are synced to disk all the time, and none has to outlive this machine.
    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > _ROOM_FOR_TESTS:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(SHARED_MEMORY))


def pytest_unconfigure() -> None:
    stop_own_server()


def pytest_collection_finish() -> None:
    """Keep imported objects out of collection; else each new container scans all of them."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", backends_for(metafunc), ids=str, indirect=True)


@pytest.fixture
def disk_path() -> Iterator[Path]:
    """A folder where syncing takes its time, for tests of crashes."""
    with tempfile.TemporaryDirectory(prefix="agent-storage-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, which is only read."""
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


@pytest.fixture(scope="session")
def postgres_lender(postgres_server: PostgresServer) -> Iterator[Lender]:
    lender = Lender(postgres_server)
    yield lender
    lender.close()


@pytest.fixture
def postgres_url(postgres_lender: Lender) -> Iterator[str]:
    with postgres_lender.lent() as url:
        yield url


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend that can do what the test needs."""
    backend: Backend = request.param
    return backend


@pytest.fixture
def database_url(backend: Backend, request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated database, once a backend that has one."""
    url: str = request.getfixturevalue(f"{backend}_url")
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
def memory_engine(sqlite_template: Path) -> Iterator[Engine]:
    engine = open_memory_engine(sqlite_template)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(backend: Backend, request: pytest.FixtureRequest) -> Engine:
    """An engine on an empty, migrated database, once a backend."""
    engine: Engine = request.getfixturevalue(f"{backend}_engine")
    return engine


@pytest.fixture(scope="session")
def engines(sqlite_template: Path, postgres_lender: Lender) -> Iterator[list[Engine]]:
    """An engine of each dialect, for property tests, which have to undo their writes."""
    with postgres_lender.lent() as url:
        engines = [open_memory_engine(sqlite_template), open_test_engine(url)]
        yield engines
        for engine in engines:
            engine.dispose()


@pytest.fixture
def executor() -> Iterator[BoundedExecutor]:
    executor = BoundedExecutor(max_workers=16)
    yield executor
    assert executor.close(timeout_s=10.0), "a call still ran at the end of the test"


@pytest.fixture
def make_lane(executor: BoundedExecutor) -> Callable[..., Lane]:
    """A function that makes a lane of this test's executor."""

    def make(name: str, *, limit: int = 4, max_waiting: int = 1000, wait_timeout_s: float = 30.0) -> Lane:
        return executor.lane(name, limit=limit, max_waiting=max_waiting, wait_timeout_s=wait_timeout_s)

    return make


@pytest.fixture
def database(engine: Engine, backend: Backend, make_lane: Callable[..., Lane]) -> Database:
    """A Database over ``engine``, on a lane as wide as the backend allows."""
    return Database(engine, make_lane("database", limit=backend.lane_limit))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources so that the tree stays as it is."""
    return build_wheel(tmp_path_factory.mktemp("wheel") / "tree")


@pytest.fixture(scope="session")
def clean_bin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with only the wheel and the locked packages."""
    home = tmp_path_factory.mktemp("clean") / "environment"  # that other users can read
    make_environment(home, wheel)
    return home / "bin"
