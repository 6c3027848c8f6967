"""Every call of the Qdrant client runs on the shared executor, without blocking the event loop."""

import asyncio
import tempfile
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from support.qdrant_engine import FAST_FOLDER
from support.qdrant_modes import empty
from support.waiting import until

from app.domain.filters import Filters
from app.executor import Lane
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import CollectionInfo, Payload, PointQuery, ScoredPoint, VectorClient
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository
from app.settings.sections import QdrantMode, QdrantSettings

DIMENSION = 8
IDS = [str(uuid.UUID(int=number)) for number in range(200)]
VECTOR = [1.0] * DIMENSION

MakeLane = Callable[..., Lane]
Operation = Callable[[QdrantRepository], Awaitable[object]]

OPERATIONS: dict[str, Operation] = {
    "upsert": lambda repository: repository.upsert(IDS[0], VECTOR, {}),
    "upsert_batch": lambda repository: repository.upsert_batch([EmbeddingItem(i, VECTOR, {}) for i in IDS]),
    "search": lambda repository: repository.search(VECTOR, 10),
    "delete": lambda repository: repository.delete(IDS[0]),
    "delete_batch": lambda repository: repository.delete_batch(IDS),
}


@dataclass
class WatchedClient:
    """A real client that records its calling threads, and blocks them while its gate is closed."""

    client: VectorClient
    threads: list[threading.Thread] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    blocked: int = 0
    max_calls: int | None = None

    @contextmanager
    def _watch(self) -> Iterator[VectorClient]:
        self.threads.append(threading.current_thread())
        if not self.gate.is_set():
            self.blocked += 1
            assert self.gate.wait(10), "the gate stayed closed: the event loop was blocked"
        yield self.client

    def batch_size(self, dimension: int) -> int:
        return self.client.batch_size(dimension)

    def get_collection(self) -> CollectionInfo | None:
        with self._watch() as client:
            return client.get_collection()

    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        with self._watch() as client:
            client.create_collection(dimension, owner)

    def set_owner(self, owner: str) -> None:
        with self._watch() as client:
            client.set_owner(owner)

    def delete_collection(self) -> None:
        with self._watch() as client:
            client.delete_collection()

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        with self._watch() as client:
            client.upsert(ids, vectors, payloads)

    def query_points(self, vector: NDArray[np.float32], query: PointQuery) -> list[ScoredPoint]:
        with self._watch() as client:
            return client.query_points(vector, query)

    def retrieve(self, ids: Sequence[str], *, payloads: bool = False) -> dict[str, Payload]:
        with self._watch() as client:
            return client.retrieve(ids, payloads=payloads)

    def set_payloads(self, groups: Sequence[tuple[Payload, Sequence[str]]]) -> None:
        with self._watch() as client:
            client.set_payloads(groups)

    def delete(self, ids: Sequence[str]) -> None:
        with self._watch() as client:
            client.delete(ids)

    def scroll(
        self, start: str | None, limit: int, filters: Filters | None, *, payloads: bool = False
    ) -> tuple[dict[str, Payload], str | None]:
        with self._watch() as client:
            return client.scroll(start, limit, filters, payloads=payloads)

    def count(self) -> int:
        with self._watch() as client:
            return client.count()

    def optimize(self) -> None:
        with self._watch() as client:
            client.optimize()

    def ping(self) -> None:
        with self._watch() as client:
            client.ping()

    def close(self) -> None:
        self.client.close()


@pytest.fixture(scope="module")
def opened() -> Iterator[dict[QdrantMode, VectorClient]]:
    modes: tuple[QdrantMode, ...] = ("memory", "embedded")
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        clients = {mode: open_vector_client(QdrantSettings(mode=mode, path=folder)) for mode in modes}
        yield clients
        for client in clients.values():
            client.close()


@pytest.fixture(params=["memory", "embedded"])
def client(request: pytest.FixtureRequest, opened: dict[QdrantMode, VectorClient]) -> WatchedClient:
    client = opened[request.param]
    empty(client, DIMENSION)
    watched = WatchedClient(client)
    watched.gate.set()
    return watched


@pytest.fixture
async def repository(client: WatchedClient, make_lane: MakeLane) -> QdrantRepository:
    """A repository whose collection has all of ``IDS``; the recorded threads are cleared."""
    repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION)
    await repository.init_collection()
    await repository.upsert_batch([EmbeddingItem(i, VECTOR, {}) for i in IDS])
    client.threads.clear()
    return repository


@pytest.fixture(params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> Operation:
    return OPERATIONS[request.param]


class TestEachOperation:
    async def test_runs_on_the_shared_executor(
        self, client: WatchedClient, repository: QdrantRepository, operation: Operation
    ) -> None:
        await operation(repository)
        assert client.threads
        assert all(thread.name.startswith("agent-storage") for thread in client.threads)
        assert threading.current_thread() not in client.threads

    async def test_leaves_the_loop_free_while_the_client_blocks(
        self, client: WatchedClient, repository: QdrantRepository, operation: Operation
    ) -> None:
        client.gate.clear()
        running = asyncio.ensure_future(operation(repository))
        await until(lambda: client.blocked == 1)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not running.done()
        client.gate.set()
        await running

    async def test_leaves_the_loop_free_for_others_when_cancelled(
        self, client: WatchedClient, repository: QdrantRepository, operation: Operation
    ) -> None:
        client.gate.clear()
        running = asyncio.ensure_future(operation(repository))
        await until(lambda: client.blocked == 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        client.gate.set()
        assert await repository.search(VECTOR, 1)


async def test_results_are_the_same_as_without_threads(repository: QdrantRepository) -> None:
    assert await OPERATIONS["upsert"](repository) == IDS[0]
    assert await OPERATIONS["upsert_batch"](repository) == IDS
    assert [str(result.extraction_id) for result in await repository.search(VECTOR, 10)] == IDS[:10]
    assert await OPERATIONS["delete"](repository) is True
    assert await OPERATIONS["delete_batch"](repository) == len(IDS) - 1


async def test_as_many_calls_block_at_once_as_the_lane_is_wide(
    client: WatchedClient, repository: QdrantRepository
) -> None:
    client.gate.clear()
    running = [asyncio.create_task(repository.search(VECTOR, 1)) for _ in range(6)]
    await until(lambda: client.blocked == 4)
    for _ in range(100):
        await asyncio.sleep(0)
    assert client.blocked == 4
    client.gate.set()
    assert all(await asyncio.gather(*running))


class WatchedVector:
    """A vector that keeps which thread reads it."""

    def __init__(self) -> None:
        self.readers: set[str] = set()

    def __array__(self, dtype: object = None, *, copy: bool | None = None) -> NDArray[np.float64]:
        self.readers.add(threading.current_thread().name)
        return np.ones(DIMENSION)


async def test_vectors_are_checked_on_the_executor_too(repository: QdrantRepository) -> None:
    vector = WatchedVector()
    await repository.upsert_batch([EmbeddingItem(IDS[0], vector, {})])
    assert vector.readers
    assert all(name.startswith("agent-storage") for name in vector.readers)


async def test_a_long_batch_lets_others_in_between_its_requests(
    client: WatchedClient, executor_of_one: Lane
) -> None:
    repository = QdrantRepository(client, executor_of_one, dimension=DIMENSION, batch_size=10)
    await repository.init_collection()
    finished: list[str] = []

    async def note(name: str, work: Awaitable[object]) -> None:
        await work
        finished.append(name)

    batch = note("batch", repository.upsert_batch([EmbeddingItem(i, VECTOR, {}) for i in IDS]))
    await asyncio.gather(batch, note("search", repository.search(VECTOR, 1)))
    assert finished == ["search", "batch"]


@pytest.fixture
def executor_of_one(make_lane: MakeLane) -> Lane:
    return make_lane("narrow", limit=1)
