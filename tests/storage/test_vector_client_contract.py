"""The public contract of vector clients, for the package's clients and those in the docs."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient
from sqlalchemy import Engine
from support.parts import fill, make_item, settings_for
from support.qdrant_modes import MODES, Clients, stub_servers

from app.domain.search import Query
from app.errors import UnfitPart
from app.services.storage.qdrant.opening import adapted
from app.services.storage.qdrant.ports import VectorClient
from app.testing import VectorClientContract
from containers import create_container, running

example: Any = import_module("examples.extending.vector_client")  # mypy knows the file as a script


class TestOwnClients(VectorClientContract):
    @pytest.fixture(params=MODES)
    def client(self, request: pytest.FixtureRequest) -> Iterator[VectorClient]:
        with stub_servers() as stubs, Clients(stubs) as clients:
            yield clients(request.param)


class TestNumpy(VectorClientContract):
    @pytest.fixture
    def client(self) -> Any:
        return example.NumpyClient()


class TestPgvector(VectorClientContract):
    @pytest.fixture
    def client(self, postgres_engine: Engine) -> Iterator[VectorClient]:
        client = example.PgvectorClient(postgres_engine)
        yield client
        example.PgvectorClient(postgres_engine).delete_collection()


class TestBorrowed(VectorClientContract):
    """A plain QdrantClient, which stays open for its owner."""

    @pytest.fixture
    def client(self) -> Iterator[Any]:
        theirs = QdrantClient(":memory:")
        yield adapted(theirs, "theirs")
        theirs.get_collections()
        theirs.close()


# --- in the container -----------------------------------------------------------------------------


@pytest.mark.parametrize("qdrant_limit", [None, 3])
async def test_numpy_serves_every_part(tmp_path: Path, qdrant_limit: int | None) -> None:
    settings = settings_for(tmp_path, "embedded", executor={"qdrant_limit": qdrant_limit})
    with running(example.container_with_numpy(settings)) as container:
        await fill(container, [make_item(number) for number in range(30)])
        hits = await container.search().search(Query("river", project="papers", limit=3))
        assert len(hits) == 3
        [state] = [state async for state in container.reconciliation().run(repair=False)][-1:]
        assert (state.missing, state.ghosts) == (0, 0)
        # The lane's limit is the client's, and not that of the engine that qdrant.mode names.
        assert container.qdrant_lane().limit == (qdrant_limit or 5)


async def test_pgvector_lies_beside_the_extractions(tmp_path: Path, postgres_url: str) -> None:
    settings = settings_for(tmp_path, database={"url": postgres_url})
    with running(example.container_with_pgvector(settings)) as container:
        await fill(container, [make_item(number) for number in range(30)])
        hits = await container.search().search(Query("river", project="papers", limit=3))
        assert len(hits) == 3
        client: Any = container.qdrant_client()
        assert client._engine is container.engine()
        await container.extractions().delete_batch("papers", [hits[0].extraction.id])
        while await container.worker().run_one():
            pass
        assert await container.qdrant_repository().count() == 29
        await container.qdrant_repository().drop_collection()


async def test_a_plain_qdrant_client_is_adapted(tmp_path: Path) -> None:
    theirs = QdrantClient(":memory:")
    settings = settings_for(tmp_path, "embedded", qdrant={"mode": "embedded", "collection": "theirs"})
    with running(create_container(settings, qdrant_client=theirs)) as container:
        await fill(container, [make_item(0)])
        assert theirs.count("theirs").count == 1
        assert container.qdrant_lane().limit == 1
    assert theirs.count("theirs").count == 1
    theirs.close()


def test_the_configured_engines_keep_their_limit(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "embedded", executor={"qdrant_limit": 4})
    with running(create_container(settings)) as container:
        assert container.qdrant_lane().limit == 1


# --- replacements that can't work -----------------------------------------------------------------


class Pingless:
    """An embedder that was written before embedders had ``ping``."""

    identity = languages = embed = None


class Partial:
    max_calls = None

    def ping(self) -> None: ...


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        (
            "qdrant_client",
            lambda: example.NumpyClient,
            "the class NumpyClient can.t be the container.s qdrant_client: it isn.t an instance",
        ),
        (
            "qdrant_client",
            Partial,
            r"\.Partial can't be the container's qdrant_client: it has no batch_size, close, count",
        ),
        ("qdrant_client", dict, r"the dict \{\} can't be the container's qdrant_client: it has no batch_size"),
        (
            "embedder",
            dict,
            r"it has no embed, identity, languages, ping\. app\.services\..*\.Embedder .*; see docs/extending/embedder\.md",
        ),
        ("embedder", lambda: example.NumpyClient, "the class NumpyClient can't be the container's embedder"),
        ("embedder", Pingless, r"the \S+\.Pingless can't be the container's embedder: it has no ping\."),
        (
            "engine",
            lambda: "sqlite://",
            "'sqlite://' can't be the container's engine: it has no dialect, dispose",
        ),
        (
            "executor",
            lambda: ThreadPoolExecutor(1),
            r"the concurrent\.futures\.thread\.ThreadPoolExecutor can't be the container's executor: it has no close, find_lane, lane",
        ),
        ("search", dict, r"the dict \{\} can't be the container's search: it is a plain value"),
        ("wakeup", lambda: None, "the NoneType None can't be the container's wakeup"),
    ],
)
def test_a_replacement_of_the_wrong_kind_is_refused(
    tmp_path: Path, name: str, make: Callable[[], Any], told: str
) -> None:
    with pytest.raises(UnfitPart, match=told):
        create_container(settings_for(tmp_path), **{name: make()})
