"""One contract for all clients: in memory, embedded, and stubs of a server by REST and by gRPC.

If there is a real server (see :mod:`support.qdrant_server`), it is tested too.
"""

import asyncio
import math
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from qdrant_client import QdrantClient, models
from support.qdrant_modes import (
    CONNECTIONS,
    MODES,
    SERVERS,
    STUBS,
    Clients,
    Contract,
    Stubs,
    stub_servers,
)

from app.domain.filters import Filters
from app.errors import (
    CollectionMismatch,
    CollectionMissing,
    InvalidInput,
    InvalidItem,
    InvalidVector,
    QdrantError,
)
from app.executor import Lane
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.points import MAX_REQUEST_BYTES, checked_batches
from app.services.storage.qdrant.ports import COLLECTION, PointQuery, VectorClient
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository

DIMENSION = 16
PAYLOAD = {"project_id": "p", "source_group": "g", "extraction_type": "t", "confidence": 0.5}

MakeLane = Callable[..., Lane]


def point_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def extraction_id(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


def axis(number: int) -> NDArray[np.float32]:
    row: NDArray[np.float32] = np.eye(DIMENSION, dtype=np.float32)[number]
    return row


def item(number: int, vector: ArrayLike | None = None, **payload: object) -> EmbeddingItem:
    return EmbeddingItem(point_id(number), axis(0) if vector is None else vector, PAYLOAD | payload)


@pytest.fixture(scope="module")
def stubs() -> Iterator[Stubs]:
    with stub_servers() as stubs:
        yield stubs


@pytest.fixture(scope="module")
def clients(stubs: Stubs) -> Iterator[Clients]:
    with Clients(stubs) as clients:
        yield clients


@pytest.fixture
def collection(mode: Contract, stubs: Stubs) -> str:
    return stubs.settings(mode).collection


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Contract:
    mode: Contract = request.param
    return mode


@pytest.fixture
def client(mode: Contract, clients: Clients, stubs: Stubs) -> VectorClient:
    """On no collection or an empty one; the stubs have forgotten who asked for what."""
    client = clients(mode)
    stubs.forget()
    return client


@pytest.fixture
def theirs(client: VectorClient, mode: Contract, stubs: Stubs) -> Iterator[QdrantClient]:
    """Another application on the server of ``client``, on no collection."""
    client.delete_collection()
    theirs = QdrantClient(url=stubs.settings(mode).url, check_compatibility=False)
    yield theirs
    theirs.close()


on_servers = pytest.mark.parametrize("mode", SERVERS, indirect=True)
on_stubs = pytest.mark.parametrize("mode", STUBS, indirect=True)


@pytest.fixture
async def repository(client: VectorClient, make_lane: MakeLane) -> QdrantRepository:
    """On an empty collection."""
    repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION, batch_size=50)
    await repository.init_collection()
    return repository


class TestCollection:
    async def test_is_made_with_its_size_distance_and_indexes(
        self, client: VectorClient, make_lane: MakeLane
    ) -> None:
        client.delete_collection()
        assert client.get_collection() is None
        await QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION).init_collection()
        found = client.get_collection()
        assert found is not None
        assert (found.dimension, found.distance, found.indexed) == (DIMENSION, "Cosine", True)

    async def test_that_exists_is_kept(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(1)])
        await repository.init_collection()
        assert await repository.count() == 1

    async def test_of_another_size_is_refused_and_not_altered(
        self, client: VectorClient, repository: QdrantRepository, make_lane: MakeLane
    ) -> None:
        await repository.upsert_batch([item(1)])
        other = QdrantRepository(client, make_lane("other"), dimension=DIMENSION + 1)
        with pytest.raises(CollectionMismatch, match=r"16-dimensional Cosine .* 17-dimensional .*reindex"):
            await other.init_collection()
        assert await repository.count() == 1

    @on_servers
    @pytest.mark.parametrize(
        "vectors",
        [
            models.VectorParams(size=DIMENSION, distance=models.Distance.DOT),
            {"text": models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)},
        ],
        ids=["another distance", "named vectors"],
    )
    async def test_of_somebody_else_is_refused(
        self,
        vectors: models.VectorParams | dict[str, models.VectorParams],
        theirs: QdrantClient,
        client: VectorClient,
        collection: str,
        make_lane: MakeLane,
    ) -> None:
        theirs.create_collection(collection, vectors_config=vectors)
        repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION)
        with pytest.raises(QdrantError, match=r"Dot|another application"):
            await repository.init_collection()

    @on_servers
    async def test_may_be_made_by_several_at_once(
        self, theirs: QdrantClient, client: VectorClient, collection: str, make_lane: MakeLane
    ) -> None:
        repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION)
        await asyncio.gather(*(repository.init_collection() for _ in range(4)))
        assert len(theirs.get_collection(collection).payload_schema) == 4

    async def test_is_dropped_with_its_points_and_made_anew(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(1)])
        await repository.drop_collection()
        with pytest.raises(QdrantError, match=r"count points \(collection 'extractions'\)"):
            await repository.count()
        await repository.drop_collection()
        await repository.init_collection()
        assert await repository.count() == 0


class TestUpsert:
    async def test_returns_the_id(self, repository: QdrantRepository) -> None:
        assert await repository.upsert(point_id(1), axis(0), PAYLOAD) == point_id(1)
        [found] = await repository.search(axis(0), 10)
        assert (found.extraction_id, found.score, found.payload) == (extraction_id(1), 1.0, PAYLOAD)

    async def test_a_batch_of_any_length_returns_the_ids_in_order(self, repository: QdrantRepository) -> None:
        numbers = [int(number) for number in np.random.default_rng(1).permutation(173)]
        assert await repository.upsert_batch([item(n) for n in numbers]) == [point_id(n) for n in numbers]
        assert await repository.count() == 173

    async def test_an_empty_batch_sends_nothing(self, repository: QdrantRepository, stubs: Stubs) -> None:
        stubs.forget()
        assert await repository.upsert_batch([]) == []
        assert not stubs.rest.requests
        assert not stubs.grpc.requests

    async def test_takes_and_gives_back_megabytes(self, repository: QdrantRepository) -> None:
        """More than 4 MB a message, where gRPC's own bound would be."""
        await repository.upsert_batch([item(number, text="ü" * 500_000) for number in range(5)])
        found = await repository.search(axis(0), 10)
        assert [len(result.payload["text"]) for result in found] == [500_000] * 5

    async def test_replaces_vector_and_payload(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(1, axis(0), source_group="old")])
        await repository.upsert_batch([item(1, axis(1), source_group="new")])
        [found] = await repository.search(axis(1), 10)
        assert (found.score, found.payload["source_group"]) == (1.0, "new")

    async def test_the_last_of_equal_ids_wins(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(1, confidence=0.1), item(1, confidence=0.2)])
        [found] = await repository.search(axis(0), 10)
        assert found.payload["confidence"] == 0.2

    async def test_takes_lists_and_arrays_of_any_number_type(self, repository: QdrantRepository) -> None:
        vectors: list[ArrayLike] = [
            [1] + [0] * 15,
            tuple(map(float, axis(0))),
            axis(0).astype(np.float64),
            axis(0).astype(np.int8),
        ]
        await repository.upsert_batch([item(n, vector) for n, vector in enumerate(vectors)])
        assert [found.score for found in await repository.search(axis(0), 10)] == [1.0] * 4

    @pytest.mark.parametrize("scale", [1e-15, 1e-4, 1.0, 1e4, 1e25])
    async def test_the_length_of_a_vector_does_not_matter(
        self, repository: QdrantRepository, scale: float
    ) -> None:
        vector = np.arange(1.0, DIMENSION + 1)
        await repository.upsert_batch([item(1, vector * scale)])
        [stored] = await repository.search(vector, 1)
        [asked] = await repository.search(vector * scale, 1)
        assert stored.score == asked.score == pytest.approx(1.0, abs=1e-6)

    async def test_keeps_missing_fields_and_any_text(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(1, source_group='"ü\n\x00 {} 🦉', confidence=None)])
        [found] = await repository.search(axis(0), 1, Filters(source_groups=('"ü\n\x00 {} 🦉',)))
        assert found.payload.get("confidence") is None
        assert found.payload["source_group"] == '"ü\n\x00 {} 🦉'


BAD_VECTORS: dict[str, ArrayLike] = {
    "short": [1.0] * 15,
    "long": [1.0] * 17,
    "empty": [],
    "nested": [[1.0] * 16],
    "ragged": [[1.0], [1.0, 2.0]],
    "a scalar": 1.0,
    "NaN": [math.nan] + [1.0] * 15,
    "infinite": [1.0] * 15 + [-math.inf],
    "beyond float32": [1e40] + [1.0] * 15,
    "zero": [0.0] * 16,
    "zero in float32": [1e-50] * 16,
    "zero when squared": [1e-30] * 16,
    "text": ["1.0"] * 16,
    "booleans": [True] * 16,
    "complex": [1j] * 16,
    "a hole": [None] * 16,  # type: ignore[dict-item]  # the mistake tested for
}


class TestBadInput:
    @pytest.mark.parametrize("name", BAD_VECTORS)
    async def test_a_bad_vector_is_named_and_nothing_is_sent(
        self, repository: QdrantRepository, name: str
    ) -> None:
        items = [item(number) for number in range(120)]
        items[101] = item(101, BAD_VECTORS[name])
        with pytest.raises(InvalidVector, match="vector 101: ") as raised:
            await repository.upsert_batch(items)
        assert raised.value.index == 101
        assert await repository.count() == 0
        with pytest.raises(InvalidVector):
            await repository.search(BAD_VECTORS[name], 1)

    @pytest.mark.parametrize("bad", ["", "1", 7, None, uuid.UUID(int=10).hex, str(uuid.UUID(int=10)).upper()])
    async def test_an_id_that_is_no_uuid_is_named(self, repository: QdrantRepository, bad: object) -> None:
        with pytest.raises(InvalidItem, match=r"item 1: .*not a UUID"):
            await repository.upsert_batch([item(0), EmbeddingItem(bad, axis(0), {})])  # type: ignore[arg-type]  # the mistake tested for
        with pytest.raises(InvalidItem, match="item 1: "):
            await repository.delete_batch([point_id(0), bad])  # type: ignore[list-item]  # the mistake tested for
        with pytest.raises(InvalidItem, match="item 0: "):
            await repository.existing_ids([bad])  # type: ignore[list-item]  # the mistake tested for
        assert await repository.count() == 0

    @pytest.mark.parametrize("value", [math.nan, math.inf, {1}, "\ud800", 1 << 70], ids=repr)
    async def test_a_payload_that_is_not_json_is_named(
        self, repository: QdrantRepository, value: object
    ) -> None:
        with pytest.raises(InvalidItem, match="item 1: the payload"):
            await repository.upsert_batch([item(0), item(1, confidence=value)])
        assert await repository.count() == 0

    @pytest.mark.parametrize(("limit", "offset"), [(0, 0), (-1, 0), (10_001, 0), (1, -1), (1, 10_001)])
    async def test_limit_and_offset_are_bounded(
        self, repository: QdrantRepository, limit: int, offset: int
    ) -> None:
        with pytest.raises(InvalidInput, match="1 to 10000"):
            await repository.search(axis(0), limit, offset=offset)

    @pytest.mark.parametrize("bound", [math.nan, math.inf])
    def test_a_confidence_bound_is_finite(self, bound: float) -> None:
        with pytest.raises(InvalidInput, match="finite"):
            Filters(min_confidence=bound)
        with pytest.raises(InvalidInput, match="finite"):
            Filters(max_confidence=bound)

    def test_an_id_to_search_among_is_one(self) -> None:
        with pytest.raises(InvalidInput, match="'x' is not the id"):
            Filters(extraction_ids=("x",))


class TestSearch:
    async def test_an_empty_collection_has_nothing(self, repository: QdrantRepository) -> None:
        assert await repository.search(axis(0), 10) == []

    async def test_best_first_and_by_id_among_equals(self, repository: QdrantRepository) -> None:
        order = [int(number) for number in np.random.default_rng(2).permutation(90)]
        await repository.upsert_batch([item(n, axis(0) + axis(1) * (n % 3)) for n in order])
        found = await repository.search(axis(0), 90)
        expected = [extraction_id(n) for third in range(3) for n in range(third, 90, 3)]
        assert [result.extraction_id for result in found] == expected

    async def test_pages_of_equals_neither_overlap_nor_skip(self, repository: QdrantRepository) -> None:
        order = [int(number) for number in np.random.default_rng(3).permutation(120)]
        await repository.upsert_batch([item(n) for n in order])
        pages = [await repository.search(axis(0), 7, offset=offset) for offset in range(0, 121, 7)]
        assert [found.extraction_id for page in pages for found in page] == [
            extraction_id(n) for n in range(120)
        ]

    async def test_an_offset_past_the_end_finds_nothing(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(1)])
        assert await repository.search(axis(0), 10, offset=1) == []

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            (Filters(), [1, 2, 3, 4]),
            (Filters(project_id="p"), [1, 2, 3]),
            (Filters(project_id=""), []),
            (Filters(source_groups=("a",)), [1, 2]),
            (Filters(source_groups=("a", "b")), [1, 2, 3]),
            (Filters(extraction_types=("fact", "none")), [1, 3]),
            (Filters(min_confidence=0.5), [2, 3]),
            (Filters(max_confidence=0.5), [1, 2]),
            (Filters(min_confidence=0.5, max_confidence=0.5), [2]),
            (Filters(min_confidence=0.6, max_confidence=0.5), []),
            (Filters(extraction_ids=(point_id(2), point_id(4), point_id(99))), [2, 4]),
            (Filters(extraction_ids=()), []),
            (
                Filters(
                    project_id="p",
                    source_groups=("a",),
                    extraction_types=("fact",),
                    min_confidence=0.0,
                    max_confidence=1.0,
                    extraction_ids=(point_id(1), point_id(2)),
                ),
                [1],
            ),
        ],
        ids=str,
    )
    async def test_filters(self, repository: QdrantRepository, filters: Filters, expected: list[int]) -> None:
        await repository.upsert_batch(
            [
                item(1, source_group="a", extraction_type="fact", confidence=0.25),
                item(2, source_group="a", extraction_type="event", confidence=0.5),
                item(3, source_group="b", extraction_type="fact", confidence=0.75),
                item(4, source_group=None, extraction_type="", confidence=None, project_id="q"),
            ]
        )
        found = await repository.search(axis(0), 10, filters)
        assert [result.extraction_id for result in found] == [extraction_id(n) for n in expected]

    async def test_among_thousands_of_ids(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(n) for n in range(60)])
        filters = Filters(extraction_ids=tuple(point_id(n) for n in range(30, 5_000)))
        assert len(await repository.search(axis(0), 100, filters)) == 30


class TestDelete:
    async def test_says_whether_it_was_there(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(1), item(2)])
        assert await repository.delete(point_id(1)) is True
        assert await repository.delete(point_id(1)) is False
        assert await repository.count() == 1

    async def test_a_batch_counts_what_was_there(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(n) for n in range(120)])
        assert await repository.delete_batch([point_id(n) for n in range(60, 2_000)]) == 60
        assert await repository.delete_batch([point_id(1), point_id(1), point_id(7_000)]) == 1
        assert await repository.delete_batch([]) == 0
        assert await repository.count() == 59


class TestPayloads:
    async def test_of_points_are_read_whole_and_others_left_out(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(number, n=number) for number in range(3)])
        found = await repository.payloads([point_id(number) for number in range(5)])
        assert found == {extraction_id(number): {**PAYLOAD, "n": number} for number in range(3)}

    async def test_are_put_in_the_place_of_the_old_ones_whatever_is_missing(
        self, repository: QdrantRepository
    ) -> None:
        await repository.upsert_batch([item(number, n=number) for number in range(4)])
        await repository.set_payloads(
            {point_id(0): {"new": None}, point_id(2): {"new": 0.1 + 0.2}, point_id(9): {"new": 1}}
        )
        assert await repository.payloads([point_id(number) for number in range(10)]) == {
            extraction_id(0): {"new": None},
            extraction_id(1): {**PAYLOAD, "n": 1},
            extraction_id(2): {"new": 0.1 + 0.2},
            extraction_id(3): {**PAYLOAD, "n": 3},
        }
        [best] = await repository.search(axis(0), 1, Filters(project_id="p"))
        assert best.extraction_id == extraction_id(1)

    async def test_of_thousands_of_points_are_set(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(number) for number in range(1_200)])
        wanted = {extraction_id(number): {"n": number % 700} for number in range(1_200)}
        await repository.set_payloads(wanted)
        assert await repository.payloads(list(wanted)) == wanted

    async def test_of_none_asks_nothing(self, repository: QdrantRepository) -> None:
        await repository.set_payloads({})
        assert await repository.payloads([]) == {}


class TestOwner:
    async def test_is_noted_with_the_collection_and_can_be_changed(self, repository: QdrantRepository) -> None:
        await repository.drop_collection()
        await repository.init_collection("mine")
        await repository.init_collection("yours")  # it exists
        assert await owner(repository) == "mine"
        await repository.set_owner("yours")
        assert await owner(repository) == "yours"
        await repository.drop_collection()
        await repository.init_collection()
        assert await owner(repository) is None

    async def test_is_no_point(self, repository: QdrantRepository) -> None:
        await repository.set_owner("mine")
        assert await repository.count() == 0
        assert await repository.search(axis(0), 10) == []

    async def test_of_no_collection_is_refused_in_words(self, repository: QdrantRepository) -> None:
        await repository.drop_collection()
        with pytest.raises(QdrantError):
            await repository.set_owner("mine")


async def owner(repository: QdrantRepository) -> str | None:
    found = await repository.find_collection()
    assert found is not None
    return found.owner


class TestMissing:
    async def test_a_collection_that_is_not_there_is_told_from_other_refusals(
        self, repository: QdrantRepository
    ) -> None:
        await repository.drop_collection()
        for call in (
            lambda: repository.search(axis(0), 1),
            lambda: repository.upsert(point_id(1), axis(0), {}),
            lambda: repository.delete(point_id(1)),
            lambda: repository.payloads([point_id(1)]),
            lambda: repository.set_payloads({point_id(1): {}}),
            repository.count,
        ):
            with pytest.raises(CollectionMissing):
                await call()


class TestReading:
    async def test_existing_ids(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(n) for n in range(10)])
        asked = [point_id(n) for n in range(5, 1_200)]
        assert await repository.existing_ids(asked) == {extraction_id(n) for n in range(5, 10)}
        assert await repository.existing_ids([]) == set()

    @pytest.mark.parametrize("count", [0, 1, 29, 30, 31, 60])
    async def test_all_ids_in_order_and_in_pages(self, repository: QdrantRepository, count: int) -> None:
        order = [int(number) for number in np.random.default_rng(4).permutation(count)]
        await repository.upsert_batch([item(n) for n in order])
        pages = [page async for page in repository.iter_ids(30)]
        assert [id_ for page in pages for id_ in page] == [extraction_id(n) for n in range(count)]
        assert all(0 < len(page) <= 30 for page in pages)

    async def test_ids_may_be_deleted_while_listed(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(n) for n in range(100)])
        seen: list[uuid.UUID] = []
        async for page in repository.iter_ids(10):
            seen += page
            await repository.delete_batch(page)
        assert seen == [extraction_id(n) for n in range(100)]
        assert await repository.count() == 0

    async def test_ping_answers_before_there_is_a_collection(
        self, client: VectorClient, make_lane: MakeLane
    ) -> None:
        await QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION).ping()

    async def test_optimize_changes_no_result(self, repository: QdrantRepository) -> None:
        await repository.upsert_batch([item(n, axis(n % 16)) for n in range(100)])
        before = await repository.search(axis(3), 20)
        await repository.optimize()
        assert await repository.search(axis(3), 20) == before


class TestClosed:
    async def test_every_call_fails_in_words(self, mode: Contract, stubs: Stubs, make_lane: MakeLane) -> None:
        with Clients(stubs) as clients:
            client = clients(mode)
            client.close()
        repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION)
        client.close()
        for call in (repository.ping(), repository.count(), repository.upsert_batch([item(1)])):
            with pytest.raises(QdrantError, match="the client is closed"):
                await call


@pytest.mark.slow
def test_threads_may_share_a_client(client: VectorClient) -> None:
    """The in-memory imitation isn't thread-safe; the client never lets two threads in."""
    client.create_collection(DIMENSION)

    def work(thread: int) -> int:
        found = 0
        for round_ in range(12):
            numbers = range(thread * 1_000 + round_ * 10, thread * 1_000 + round_ * 10 + 10)
            vectors = np.tile(axis(thread), (10, 1))
            client.upsert([point_id(n) for n in numbers], vectors, [PAYLOAD] * 10)
            found += len(client.query_points(axis(thread), PointQuery(5)))
            client.delete([point_id(numbers[0])])
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [60] * 8
    assert client.count() == 8 * 12 * 9
    for thread in range(8):
        found = client.query_points(axis(thread), PointQuery(108))
        assert {uuid.UUID(point.id).int // 1_000 for point in found} == {thread}
        assert all(point.score > 0.999 for point in found)


def names(stubs: Stubs) -> list[str]:
    """What was asked of the stubs, by REST (without the collection) and by gRPC."""
    rest = [f"{method} {path.partition('extractions')[2]}" for method, path, _ in stubs.rest.requests]
    return rest + [name for name, _ in stubs.grpc.requests]


class TestRequests:
    @on_stubs
    async def test_a_batch_is_cut_by_count(self, repository: QdrantRepository, stubs: Stubs) -> None:
        stubs.forget()
        await repository.upsert_batch([item(n) for n in range(120)])
        assert names(stubs) in (["PUT /points?wait=true"] * 3, ["Upsert"] * 3)

    def test_a_batch_is_cut_by_bytes(self) -> None:
        items = [EmbeddingItem(point_id(n), np.ones(20_000), {"text": "x" * 1_000_000}) for n in range(40)]
        batches = checked_batches(items, 20_000, batch_size=1_000)
        assert [len(batch.ids) for batch in batches] == [15, 15, 10]

    def test_an_item_beyond_the_bound_goes_alone(self) -> None:
        items = [item(0), item(1, text="x" * (MAX_REQUEST_BYTES + 1)), item(2)]
        assert [len(batch.ids) for batch in checked_batches(items, DIMENSION, batch_size=1_000)] == [1, 1, 1]

    @on_stubs
    @pytest.mark.usefixtures("theirs")
    async def test_every_write_waits_until_it_is_done(
        self, client: VectorClient, make_lane: MakeLane, stubs: Stubs
    ) -> None:
        repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION)
        await repository.init_collection()
        await repository.upsert_batch([item(1)])
        await repository.delete(point_id(1))
        writes = [path for _, path, _ in stubs.rest.requests if "/index" in path or "wait" in path]
        assert stubs.grpc.waited or [path.partition("?")[2] for path in writes] == ["wait=true"] * 6
        assert writes or stubs.grpc.waited == [True] * 6

    @on_stubs
    async def test_indexes_are_made_once_and_only_those_missing(
        self, theirs: QdrantClient, client: VectorClient, make_lane: MakeLane, stubs: Stubs
    ) -> None:
        def made() -> int:
            made = sum(name in ("PUT /index?wait=true", "CreateFieldIndex") for name in names(stubs))
            stubs.forget()
            return made

        vectors = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
        theirs.create_collection(COLLECTION, vectors_config=vectors)
        theirs.create_payload_index(COLLECTION, "project_id", models.PayloadSchemaType.KEYWORD)
        stubs.forget()
        repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION)
        await repository.init_collection()
        assert made() == 3
        await repository.init_collection()
        assert made() == 0
        await repository.drop_collection()
        await repository.init_collection()
        assert made() == 4

    @on_stubs
    def test_connections_are_kept_and_bounded(self, mode: Contract, client: VectorClient, stubs: Stubs) -> None:
        client.create_collection(DIMENSION)

        def opened() -> int:
            return stubs.rest.connections if mode == "rest" else len(stubs.grpc.peers)

        before = opened()
        with Clients(stubs) as clients:
            own = clients.open(mode)
            for _ in range(20):
                own.count()
            assert opened() - before <= 1
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(lambda _: own.count(), range(200))) == {0}
            assert opened() - before <= CONNECTIONS
            own.close()


CLUSTER: dict[str, Any] = {"shard_number": 3, "replication_factor": 2, "write_consistency_factor": 2}


def cluster_settings(theirs: QdrantClient) -> dict[str, int | None]:
    params = theirs.get_collection(COLLECTION).config.params
    return {name: getattr(params, name) for name in CLUSTER}


@on_stubs
class TestCluster:
    @pytest.fixture
    def configured(self, mode: Contract, stubs: Stubs) -> Iterator[VectorClient]:
        client = open_vector_client(stubs.settings(mode, **CLUSTER))
        yield client
        client.close()

    def test_is_made_as_configured(self, theirs: QdrantClient, configured: VectorClient) -> None:
        configured.create_collection(DIMENSION)
        assert cluster_settings(theirs) == CLUSTER

    def test_is_left_to_the_server_where_nothing_is_said(
        self, theirs: QdrantClient, client: VectorClient, stubs: Stubs
    ) -> None:
        client.create_collection(DIMENSION)
        assert "shard_number" not in stubs.rest.engine.created[-1]
        assert "replication_factor" not in stubs.rest.engine.created[-1]
        assert theirs.collection_exists(COLLECTION)

    async def test_that_exists_is_not_altered(
        self, theirs: QdrantClient, configured: VectorClient, make_lane: MakeLane, stubs: Stubs
    ) -> None:
        vectors = models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
        theirs.create_collection(COLLECTION, vectors_config=vectors, shard_number=1)
        before = cluster_settings(theirs)
        stubs.forget()
        await QdrantRepository(configured, make_lane("qdrant"), dimension=DIMENSION).init_collection()
        assert cluster_settings(theirs) == before
        asked = set(names(stubs)) - {"GET ", "GET /exists", "PUT /index?wait=true"}
        assert asked <= {"Get", "CollectionExists", "CreateFieldIndex"}
