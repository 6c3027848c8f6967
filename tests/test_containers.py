"""The composition root: what it builds, what a replacement reaches, and how it opens and closes."""

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dependency_injector import providers
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool
from support.parts import settings_for

from app.api.parts import ApiParts
from app.cli.command_parts import CommandParts
from app.cli.ports import ServiceParts
from app.config import Settings
from app.domain.jobs import JobType
from app.errors import DataDirectoryLocked, QdrantUnavailable, SchemaMismatch, UnsupportedDialect
from app.executor import Lane
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import ClientFailure
from app.settings.sections import QdrantSettings
from containers import Container, create_container, running

ROOT = Path(__file__).resolve().parents[1]
MODES = ("memory", "embedded", "server")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def fake(make_lane: Callable[..., Lane]) -> DeterministicEmbedder:
    return DeterministicEmbedder(make_lane("fake"), 7)


def parts(container: Container) -> dict[str, Any]:
    """Every provider that builds a part once, by name."""
    others = {"config", "handlers", "worker"}
    return {name: provider for name, provider in container.providers.items() if name not in others}


@pytest.mark.parametrize("mode", MODES)
def test_every_provider_builds(tmp_path: Path, mode: str) -> None:
    with running(create_container(settings_for(tmp_path, mode))) as container:
        for name, provider in parts(container).items():
            assert provider() is not None, name
            assert provider() is provider(), f"{name} is built twice"
        assert container.worker() is not container.worker()
        assert container.handlers().keys() == set(JobType)


@pytest.mark.parametrize("provider", ["wordllama", "openai", "deterministic"])
def test_the_selector_builds_the_configured_embedder(tmp_path: Path, provider: str) -> None:
    openai = {"model": "m", "dimension": 8, "api_key": "k"} if provider == "openai" else {}
    settings = settings_for(tmp_path, embedding={"provider": provider, **openai})
    with running(create_container(settings)) as container:
        assert type(container.embedder()).__name__.lower() == f"{provider}embedder"
        assert container.qdrant_repository() is not None


def test_building_a_container_opens_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    create_container(settings_for(tmp_path, "embedded"))
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_the_sizes_come_from_the_settings(tmp_path: Path) -> None:
    settings = settings_for(
        tmp_path,
        database={"url": f"sqlite:///{tmp_path / 'test.db'}", "pool_size": 7, "max_overflow": 3},
        executor={"max_workers": 12, "database_limit": 4},
    )
    with running(create_container(settings)) as container:
        pool = container.engine().pool
        assert isinstance(pool, QueuePool)
        assert pool.size() == 7
        assert container.executor().max_workers == 12
        assert container.database_lane().limit == 4


def test_32_threads_asking_at_once_get_one_instance(settings: Settings) -> None:
    with running(create_container(settings)) as container, ThreadPoolExecutor(32) as threads:
        for name, provider in parts(container).items():
            barrier = threading.Barrier(32)

            def ask(provider: Any = provider, barrier: threading.Barrier = barrier) -> Any:
                barrier.wait(timeout=10)
                return provider()

            instances = list(threads.map(lambda _: ask(), range(32)))
            assert len({id(instance) for instance in instances}) == 1, name


# --- replacements ---------------------------------------------------------------------------------


def objects_within(root: Any) -> set[int]:
    """The ids of all objects that ``root`` holds, directly or through its parts."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        current = waiting.pop()
        if id(current) in seen or isinstance(current, type) or type(current).__module__ == "builtins":
            continue
        seen.add(id(current))
        waiting += vars(current).values() if hasattr(current, "__dict__") else []
    return seen


def test_a_replaced_embedder_reaches_every_consumer(settings: Settings, fake: DeterministicEmbedder) -> None:
    with running(create_container(settings, embedder=fake)) as container:
        assert container.embedder() is fake
        for consumer in (container.indexing(), container.reindexing(), container.search()):
            assert id(fake) in objects_within(consumer)
        assert container.qdrant_repository()._dimension == 7


def test_a_replaced_engine_reaches_every_consumer(settings: Settings, engine: Engine) -> None:
    with running(create_container(settings, engine=engine)) as container:
        assert container.database().engine is engine
        for name in ("ingestion", "indexing", "search", "reconciliation", "metrics_collector", "projects"):
            assert id(engine) in objects_within(getattr(container, name)()), name
    with engine.connect() as connection:  # what was handed in isn't closed for its owner
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_replaced_client_reaches_the_repository(settings: Settings) -> None:
    client = open_vector_client(QdrantSettings(mode="memory"))
    with running(create_container(settings, qdrant_client=client)) as container:
        assert id(client) in objects_within(container.search())
    client.ping()  # what was handed in isn't closed for its owner
    client.close()


def test_a_replacement_stays_in_its_container(settings: Settings, fake: DeterministicEmbedder) -> None:
    replaced, untouched = create_container(settings, embedder=fake), create_container(settings)
    with running(untouched) as container:
        assert container.embedder() is not fake
    assert replaced.embedder() is fake
    assert not create_container(settings).embedder.overridden
    assert not Container.embedder.overridden


def test_a_misspelt_replacement_is_refused(settings: Settings, fake: DeterministicEmbedder) -> None:
    with pytest.raises(AttributeError, match="no provider 'embeder'"):
        create_container(settings, embeder=fake)


class FailingClient:
    """A client of a Qdrant that isn't there."""

    closed = False
    max_calls = None

    def batch_size(self, dimension: int) -> int:
        return dimension

    def close(self) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        def fail(*_: object) -> None:
            raise ClientFailure("connection refused", transient=True)

        return fail


async def test_a_failing_client_surfaces_as_our_error(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, qdrant={"mode": "memory", "retry_timeout": 0.2})
    with running(create_container(settings, qdrant_client=FailingClient())) as container:
        with pytest.raises(QdrantUnavailable, match="connection refused"):
            await container.indexing().prepare()
        [database, qdrant, *others] = await container.health().check()
    assert database.ok
    assert [part.part for part in others if part.ok] == ["embedder", "executor"]
    assert not qdrant.ok
    assert qdrant.error is not None
    assert "connection refused" in qdrant.error


# --- opening and closing --------------------------------------------------------------------------


def resources_behind(provider: Any, name: str, found: set[str]) -> set[str]:
    """The resources that ``provider`` is made of by direct edges."""
    for related in provider.related:
        for other, candidate in Container.providers.items():
            if candidate is related and isinstance(related, providers.Resource) and other != name:
                found.add(other)
    return found


def test_the_edges_between_resources_give_the_closing_order() -> None:
    """Threads stop first, as they use all others; dependency_injector closes along direct edges."""
    edges = {
        name: resources_behind(provider, name, set())
        for name, provider in Container.providers.items()
        if isinstance(provider, providers.Resource)
    }
    users = {"engine": set[str](), "qdrant_client": set[str](), "embedding_connections": set[str]()}
    assert edges == {"executor": set(users), **users}


def test_the_threads_have_stopped_before_the_engine_is_disposed_of(settings: Settings) -> None:
    stopped: list[bool] = []
    for _ in range(50):
        container = create_container(settings)
        container.init_resources()
        executor = container.executor()
        event.listen(
            container.engine(), "engine_disposed", lambda _, e=executor: stopped.append(e._pool._shutdown)
        )
        container.shutdown_resources()
    assert stopped == [True] * 50


def test_everything_is_closed_at_the_end(tmp_path: Path) -> None:
    for _ in range(2):  # the directory's lock is free again
        with running(create_container(settings_for(tmp_path, "embedded"))) as container:
            pool = container.engine().pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("agent-storage")]


def test_an_error_inside_closes_everything(tmp_path: Path) -> None:
    with pytest.raises(KeyError), running(create_container(settings_for(tmp_path, "embedded"))):
        raise KeyError("the caller's own")
    with running(create_container(settings_for(tmp_path, "embedded"))):
        pass


def test_a_failing_opener_leaves_nothing_open(tmp_path: Path) -> None:
    opened: list[str] = []

    def noted() -> Iterator[object]:
        opened.append("engine")
        yield create_engine("sqlite://")
        opened.remove("engine")

    settings = settings_for(tmp_path, "embedded")
    second = running(create_container(settings, engine=providers.Resource(noted)))
    with running(create_container(settings)), pytest.raises(DataDirectoryLocked), second:
        pytest.fail("the directory is in use")
    assert opened == []


def test_a_failing_closer_leaves_nothing_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def grudging() -> Iterator[Engine]:
        engine = create_engine(f"sqlite:///{tmp_path / 'test.db'}")
        yield engine
        engine.dispose()
        raise RuntimeError("won't close")

    settings = settings_for(tmp_path, "embedded")
    with running(create_container(settings, engine=providers.Resource(grudging))):
        pass
    assert "won't close" in caplog.text
    with running(create_container(settings)):
        pass
    gc.collect()


def test_a_database_that_was_not_migrated_is_refused_where_migrating_is_off(settings: Settings) -> None:
    with pytest.raises(SchemaMismatch, match="db upgrade"), running(create_container(settings), migrate=False):
        pytest.fail("the schema is missing")


def test_a_dialect_without_a_strategy_is_refused_at_start(settings: Settings) -> None:
    class Dialect:
        name = "cockroach"

    class Other:
        dialect = Dialect()

        def dispose(self) -> None:
            pass

    container = running(create_container(settings, engine=Other()))
    with pytest.raises(UnsupportedDialect, match=r"'cockroach'.*postgresql, sqlite"), container:
        pytest.fail("no strategy")


# --- the protocols of those who use it ------------------------------------------------------------


@pytest.mark.parametrize("protocol", [ApiParts, CommandParts, ServiceParts])
def test_a_protocol_names_providers(protocol: type) -> None:
    """mypy checks the types, as there are no casts, but not the names.

    The library's stubs give a container every attribute.
    """
    named = {name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")}
    assert named
    assert named <= Container.providers.keys()


@pytest.mark.slow
def test_mypy_sees_a_part_of_another_type(tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(
        "from typing import Protocol\n"
        "from app.services.projects import ProjectService\n"
        "from containers import Container\n"
        "class Wrong(Protocol):\n    def search(self) -> ProjectService: ...\n"
        "class Right(Protocol):\n    def projects(self) -> ProjectService: ...\n"
        "def wrong(container: Container) -> Wrong:\n    return container\n"
        "def right(container: Container) -> Right:\n    return container\n"
    )
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-error-summary",
            "--cache-dir",
            tmp_path / "cache",
            probe,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    errors = [line.partition("probe.py:")[2] for line in found.splitlines() if ": error:" in line]
    assert [line.partition(":")[0] for line in errors] == ["9"], found
