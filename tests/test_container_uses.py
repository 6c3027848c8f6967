"""The container in the ways that dependency-injector documents.

Filled, reset, overridden, subclassed, copied, nested, run again.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from dependency_injector import containers, providers
from fastapi import FastAPI
from sqlalchemy import Engine
from support.cli import ROOT
from support.parts import fill, make_item, open_container, settings_for
from support.settings import enter_empty_place

from app.config import Settings, load_settings
from app.domain.search import Query
from app.errors import ConfigurationError, SchemaMissing
from app.executor import Lane
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import EmbedderIdentity
from containers import Container, create_container, running


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


@pytest.fixture
def fake(make_lane: Callable[..., Lane]) -> DeterministicEmbedder:
    return DeterministicEmbedder(make_lane("fake"), 7)


def consumers_of(container: Any) -> set[object]:
    """The embedders that the container's parts were given."""
    parts = (container.indexing(), container.reindexing(), container.meaning_search())
    return {part._embedder._embedder for part in parts}


async def stores_and_finds(container: Container) -> None:
    await fill(container, [make_item(0)])
    [hit] = await container.search().search(Query("river", project="papers"))
    assert hit.extraction.source_uri == "doc:0"


# --- reset and run again --------------------------------------------------------------------------


async def test_singletons_are_reset_between_two_uses(tmp_path: Path, engine: Engine) -> None:
    with open_container(tmp_path, engine=engine) as container:
        await stores_and_finds(container)
        before = container.search()
        lane = container.database_lane()
        container.reset_singletons()
        assert container.search() is not before
        await stores_and_finds(container)
        assert await before.search(Query("river", project="papers"))  # parts of before go on
        # Both generations share the lanes, so that the pool's bounds hold.
        assert container.database_lane() is lane
        assert [each.name for each in container.executor().stats()].count("database") == 1


@pytest.mark.parametrize(
    "sections",
    [{"qdrant": {"mode": "memory"}, "database": {"url": "sqlite://"}}, {}],
    ids=["in memory", "on disk"],
)
async def test_one_container_is_run_twice(tmp_path: Path, sections: dict[str, Any]) -> None:
    container = create_container(settings_for(tmp_path, "embedded", **sections))
    for _ in range(2):
        with running(container):
            await stores_and_finds(container)


async def test_a_lifespan_is_started_twice(tmp_path: Path) -> None:
    container = create_container(settings_for(tmp_path, "embedded"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with running(container):
            yield

    app = FastAPI(lifespan=lifespan)
    for _ in range(2):
        async with app.router.lifespan_context(app):
            await stores_and_finds(container)


async def test_the_example_of_a_web_application_starts_twice(tmp_path: Path) -> None:
    example: Any = import_module("examples.web_application")
    with running(create_container(settings_for(tmp_path))) as container:
        app = example.create_app(container)
        for _ in range(2):
            async with app.router.lifespan_context(app):
                await stores_and_finds(container)


def test_a_part_that_was_handed_in_outlives_a_run(settings: Settings, fake: DeterministicEmbedder) -> None:
    container = create_container(settings, embedder=fake)
    for _ in range(2):
        with running(container):
            assert consumers_of(container) == {fake}


# --- overriding -----------------------------------------------------------------------------------


def test_an_override_reaches_who_is_asked_for_inside(settings: Settings, fake: DeterministicEmbedder) -> None:
    with running(create_container(settings)) as container:
        [real] = consumers_of(container)
        with container.embedder.override(fake), container.reset_singletons():
            assert consumers_of(container) == {fake}
            assert container.qdrant_repository()._dimension == 7
        assert fake not in consumers_of(container)
        assert {type(each) for each in consumers_of(container)} == {type(real)}


@pytest.mark.parametrize("name", ["database", "wakeup", "instruments", "qdrant_repository", "indexing"])
def test_an_override_of_any_part_reaches_its_consumers(settings: Settings, name: str) -> None:
    with running(create_container(settings)) as container:
        provider = container.providers[name]
        fake, consumers = provider(), 0
        container.reset_singletons()
        with provider.override(fake), container.reset_singletons():
            for user in container.providers.values():
                if provider in user.related and isinstance(user, providers.ThreadSafeSingleton):
                    assert any(part is fake for part in held_by(user())), user
                    consumers += 1
        assert consumers


def held_by(part: object) -> Iterator[object]:
    """What it has for attributes, and what the helpers among them have."""
    for each in vars(part).values():
        yield each
        yield from getattr(each, "__dict__", {}).values()


# --- filling `config` -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fill_config",
    [
        lambda config, settings: config.from_pydantic(settings),
        lambda config, settings: config.from_dict(settings.model_dump()),
        lambda config, settings: config.from_dict(
            {"database": {"url": settings.database.url}, "qdrant": {"mode": "memory"}}
        ),
        lambda config, settings: config.override(settings.model_dump()),
    ],
    ids=["pydantic", "dict", "some of a dict", "override"],
)
async def test_the_configuration_is_filled_the_ordinary_ways(
    settings: Settings, fill_config: Callable[..., None]
) -> None:
    container = Container()
    fill_config(container.config, settings)
    with running(container):
        assert container.settings().database == settings.database
        await stores_and_finds(container)


def test_the_shipped_file_fills_it_as_the_settings_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_empty_place(tmp_path, monkeypatch)
    container = Container()
    container.config.from_yaml(str(ROOT / "config.yml"))
    assert container.settings() == load_settings(ROOT / "config.yml")
    with running(container):
        assert (tmp_path / "data" / "agent-storage.db").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, r"config = nothing: must be filled .*create_container\(settings\).*from_pydantic.*from_yaml"),
        ({"url": "sqlite://"}, r"url = .*: isn't a setting; the nearest is"),
        (
            {"database": {"ulr": 1}},
            r"database.ulr = 1 \(the container's config\): isn't a setting; .*database.url",
        ),
        ({"database": {"pool_size": "x"}}, r"database.pool_size = \*+|database.pool_size = x"),
        ({"database": "sqlite://"}, r"database = .*: must be a mapping with some of url"),
        ({"qdrant": {"mode": "server"}}, r"qdrant\."),
    ],
)
def test_a_wrong_filling_says_at_once_what_to_use(given: Any, told: str) -> None:
    container = Container()
    if given is not None:
        container.config.from_dict(given)
    with pytest.raises(ConfigurationError, match=told), running(container):
        pytest.fail("it can't be used")


async def test_it_is_nested_in_another_applications_container(settings: Settings) -> None:
    class Service:
        def __init__(self, search: Any) -> None:
            self.search = search

    class Application(containers.DeclarativeContainer):
        config = providers.Configuration()
        storage = providers.Container(Container, config=config.storage)
        service = providers.Singleton(Service, storage.search)

    application = Application()
    application.config.storage.from_pydantic(settings)
    with running(application.storage()) as container:
        await stores_and_finds(container)
        assert application.service().search is container.search()


# --- a subclass, and a copy -----------------------------------------------------------------------


class Seven:
    """An embedder on a lane of the container."""

    identity = EmbedderIdentity("seven", "1", 7)
    languages = embed = ping = None  # never used here

    def __init__(self, lane: Lane | None) -> None:
        self.lane = lane


class Subclass(Container):
    embedder: Any = providers.ThreadSafeSingleton(Seven, Container.embedding_lane)
    described = providers.Dict(embedder=embedder)


class Deeper(Subclass):
    """Inherits a replacement, and wraps what it inherits."""

    wakeup: Any = providers.List(Container.wakeup)


@containers.copy(Container)
class Copy(Container):
    embedder: Any = providers.ThreadSafeSingleton(Seven, Container.embedding_lane)


@pytest.mark.parametrize("kind", [Subclass, Deeper, Copy])
def test_a_replaced_provider_reaches_its_consumers(settings: Settings, kind: type[Container]) -> None:
    container = kind()
    container.config.from_pydantic(settings)
    with running(container):
        [embedder] = consumers_of(container)
        assert isinstance(embedder, Seven)
        assert embedder is container.embedder()
        assert container.qdrant_repository()._dimension == 7
        assert not Container.embedder.overridden


@pytest.mark.parametrize("kind", [Subclass, Copy])
def test_a_subclasss_provider_uses_the_containers_own_parts(settings: Settings, kind: type[Container]) -> None:
    container = kind()
    container.config.from_pydantic(settings)
    with running(container):
        embedder: Any = container.embedder()
        assert embedder.lane is container.embedding_lane()


def test_a_subclass_may_have_more_parts(settings: Settings) -> None:
    container = Subclass()
    container.config.from_pydantic(settings)
    with running(container):
        assert container.providers["described"]() == {"embedder": container.embedder()}


def test_a_subclass_is_replaced_in_too(settings: Settings, fake: DeterministicEmbedder) -> None:
    container = Deeper(embedder=providers.Object(fake))
    container.config.from_pydantic(settings)
    with running(container):
        assert consumers_of(container) == {fake}
        wakeup: Any = container.ingestion()._wakeup
        assert [type(each).__name__ for each in wakeup] == ["Wakeup"]


# --- opened without `running` ---------------------------------------------------------------------


@pytest.fixture
def resources_alone(settings: Settings, postgres_engine: Engine) -> Iterator[Callable[[bool], Container]]:
    opened = []

    def open_them(postgres: bool) -> Container:
        container = create_container(settings)
        if postgres:
            container = create_container(settings, engine=postgres_engine)
            with postgres_engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE projects CASCADE")
        container.init_resources()
        opened.append(container)
        return container

    yield open_them
    for container in opened:
        container.shutdown_resources()


@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgres"])
async def test_resources_alone_on_an_empty_database_name_the_way_out(
    resources_alone: Callable[[bool], Container], postgres: bool
) -> None:
    container = resources_alone(postgres)
    with pytest.raises(SchemaMissing, match=r"running\(container\).*agent-storage db upgrade"):
        await container.projects().list()
