"""The ids that the Qdrant repository takes and gives back, and the filters it is called with."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from sqlalchemy import Engine
from support.parts import fill, make_item, open_container
from support.qdrant_modes import MODES, SERVERS, Clients, Contract, Stubs, stub_servers

from app.domain.search import Query
from app.errors import InvalidInput, InvalidItem, QdrantError
from app.executor import Lane
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository
from containers import Container

DIMENSION = 16
ID = uuid.UUID(int=1)
VECTOR = [1.0] * DIMENSION


@pytest.fixture(scope="module")
def stubs() -> Iterator[Stubs]:
    with stub_servers() as stubs:
        yield stubs


@pytest.fixture(scope="module")
def clients(stubs: Stubs) -> Iterator[Clients]:
    with Clients(stubs) as clients:
        yield clients


@pytest.fixture(params=MODES)
async def repository(
    request: pytest.FixtureRequest, clients: Clients, make_lane: Callable[..., Lane]
) -> QdrantRepository:
    """On an empty collection of each mode."""
    return await opened(clients, request.param, make_lane)


async def opened(clients: Clients, mode: Contract, make_lane: Callable[..., Lane]) -> QdrantRepository:
    repository = QdrantRepository(clients(mode), make_lane("qdrant"), dimension=DIMENSION)
    await repository.init_collection()
    return repository


@pytest.mark.parametrize("given", [ID, str(ID)], ids=["a UUID", "its text"])
class TestEitherSpelling:
    async def test_is_taken_everywhere(self, repository: QdrantRepository, given: uuid.UUID | str) -> None:
        assert await repository.upsert(given, VECTOR, {"n": 1}) == str(ID)
        assert await repository.upsert_batch([EmbeddingItem(given, VECTOR, {"n": 2})]) == [str(ID)]
        assert await repository.existing_ids([given]) == {ID}
        payloads: Any = {given: {"n": 3}}
        await repository.set_payloads(payloads)
        assert await repository.payloads([given]) == {ID: {"n": 3}}
        [found] = await repository.search(VECTOR, filters={"extraction_ids": [given]})
        assert (found.extraction_id, found.payload) == (ID, {"n": 3})
        assert await repository.delete(given) is True
        assert await repository.delete_batch([given]) == 0

    async def test_comes_back_as_what_a_row_is_known_by(
        self, repository: QdrantRepository, given: uuid.UUID | str
    ) -> None:
        await repository.upsert(given, VECTOR, {})
        [found] = await repository.search(VECTOR)
        listed = [id_ async for page in repository.iter_ids() for id_ in page]
        for id_ in (found.extraction_id, *listed, *await repository.existing_ids([given])):
            assert id_ == ID
            assert isinstance(id_, uuid.UUID)
        assert [id_ async for page in repository.iter_point_ids() for id_ in page] == [str(ID)]


@pytest.mark.parametrize(
    "bad", ["", "1", 7, None, ID.hex, str(uuid.UUID(int=10)).upper(), "{" + str(ID) + "}", b"x"]
)
async def test_what_is_no_id_is_named(repository: QdrantRepository, bad: Any) -> None:
    for call in (
        lambda: repository.upsert_batch([EmbeddingItem(ID, VECTOR, {}), EmbeddingItem(bad, VECTOR, {})]),
        lambda: repository.delete_batch([ID, bad]),
        lambda: repository.existing_ids([ID, bad]),
        lambda: repository.payloads([ID, bad]),
        lambda: repository.set_payloads({ID: {}, bad: {}}),
    ):
        with pytest.raises(InvalidItem, match=r"item 1: .* is not a UUID"):
            await call()
    assert await repository.count() == 0


async def test_one_where_a_list_is_meant_is_refused(repository: QdrantRepository) -> None:
    item: Any = EmbeddingItem(ID, VECTOR, {})
    with pytest.raises(InvalidInput, match="expected a list of items, not a single one, EmbeddingItem"):
        await repository.upsert_batch(item)
    one: Any
    for one in (ID, str(ID)):
        for call in (repository.delete_batch, repository.existing_ids, repository.payloads):
            with pytest.raises(InvalidInput, match=r"list of ids, not a single one, .*; put it in a list"):
                await call(one)


async def test_an_iterator_is_refused_because_it_would_be_read_twice(repository: QdrantRepository) -> None:
    await repository.upsert(ID, VECTOR, {})
    ids: Any = (id_ for id_ in [ID])
    with pytest.raises(InvalidInput, match="not a generator"):
        await repository.delete_batch(ids)
    assert await repository.delete_batch({ID}) == 1


@pytest.mark.parametrize("item", [(ID, VECTOR, {}), {"extraction_id": ID}, None])
async def test_what_is_no_item_is_named(repository: QdrantRepository, item: Any) -> None:
    with pytest.raises(InvalidItem, match=r"item 1: .*not an EmbeddingItem"):
        await repository.upsert_batch([EmbeddingItem(ID, VECTOR, {}), item])
    assert await repository.count() == 0


@pytest.mark.parametrize("payload", [None, [], "text"])
async def test_a_payload_is_a_dict(repository: QdrantRepository, payload: Any) -> None:
    with pytest.raises(InvalidItem, match=r"item 0: the payload is a .*, not a dict"):
        await repository.upsert(ID, VECTOR, payload)


class TestSearch:
    async def test_gives_ten_unless_told(self, repository: QdrantRepository) -> None:
        items = [EmbeddingItem(uuid.UUID(int=n), VECTOR, {}) for n in range(12)]
        await repository.upsert_batch(items)
        found = await repository.search(VECTOR)
        assert [result.extraction_id for result in found] == [item.extraction_id for item in items[:10]]

    async def test_takes_a_mapping(self, repository: QdrantRepository) -> None:
        for number, project in enumerate(["p1", "p2", "p1"]):
            await repository.upsert(uuid.UUID(int=number), VECTOR, {"project_id": project})
        found = await repository.search(VECTOR, filters={"project_id": "p1"})
        assert [result.extraction_id.int for result in found] == [0, 2]
        listed = [id_ async for page in repository.iter_ids(filters={"project_id": "p2"}) for id_ in page]
        assert [id_.int for id_ in listed] == [1]

    async def test_refuses_an_unknown_filter_by_its_name(self, repository: QdrantRepository) -> None:
        with pytest.raises(InvalidInput, match="no filter 'projct_id'; the nearest is 'project_id'"):
            await repository.search(VECTOR, filters={"projct_id": "p1"})
        with pytest.raises(InvalidInput, match="no filter 'projct_id'"):
            await anext(repository.iter_ids(filters={"projct_id": "p1"}))

    async def test_refuses_a_text_where_a_list_is_meant(self, repository: QdrantRepository) -> None:
        with pytest.raises(
            InvalidInput, match=r"source_groups takes a list, not 'reports'; write \['reports'\]"
        ):
            await repository.search(VECTOR, filters={"source_groups": "reports"})

    @pytest.mark.parametrize("limit", ["10", 2.0, True, None])
    async def test_a_limit_is_a_whole_number(self, repository: QdrantRepository, limit: Any) -> None:
        with pytest.raises(InvalidInput, match="1 to 10000"):
            await repository.search(VECTOR, limit)


class TestPointsOfOtherPrograms:
    """Their ids may be numbers, and no extraction has one."""

    @pytest.fixture(params=SERVERS)
    async def shared(
        self, request: pytest.FixtureRequest, clients: Clients, stubs: Stubs, make_lane: Callable[..., Lane]
    ) -> QdrantRepository:
        """10 points of the repository and 30 of another program, all equally near."""
        mode: Contract = request.param
        settings = stubs.settings(mode)
        repository = await opened(clients, mode, make_lane)
        await repository.upsert_batch([EmbeddingItem(uuid.UUID(int=n), VECTOR, {}) for n in range(10)])
        theirs = QdrantClient(url=settings.url, check_compatibility=False)
        points = [models.PointStruct(id=n, vector=VECTOR, payload={}) for n in range(30)]
        theirs.upsert(settings.collection, points, wait=True)
        theirs.close()
        return repository

    @pytest.mark.parametrize(("limit", "offset"), [(10, 0), (3, 0), (3, 6), (100, 0)])
    async def test_are_passed_over_by_a_search(self, shared: QdrantRepository, limit: int, offset: int) -> None:
        found = await shared.search(VECTOR, limit, offset=offset)
        assert [result.extraction_id.int for result in found] == list(range(10))[offset : offset + limit]

    async def test_are_told_when_the_extractions_are_listed(self, shared: QdrantRepository) -> None:
        with pytest.raises(QdrantError, match=r"the point \d+, whose ID isn't an extraction's"):
            async for _ in shared.iter_ids():
                pass
        points = [id_ async for page in shared.iter_point_ids(7) for id_ in page]
        assert sorted(points) == sorted([*map(str, range(30)), *(str(uuid.UUID(int=n)) for n in range(10))])


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


async def test_what_is_found_is_equal_to_the_row_and_can_be_handed_back(container: Container) -> None:
    await fill(container, [make_item(number) for number in range(3)])
    [found, *_] = await container.search().search(Query("river", project="papers"))
    repository = container.qdrant_repository()
    [vector] = await container.embedder().embed(["river"])
    results = await repository.search(vector, filters={"project_id": found.extraction.project_id})
    assert found.extraction.id in {result.extraction_id for result in results}
    assert await repository.delete(found.extraction.id) is True
    assert await repository.existing_ids([found.extraction.id]) == set()
