"""A real server in strict mode: requests are split to fit its limits."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse
from support.qdrant_modes import REAL_SERVERS, Contract, settings_of_real
from support.qdrant_server import HOW_TO, real_server

from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.errors import QdrantUnavailable
from app.executor import BoundedExecutor
from app.retry import RetryPolicy
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository

pytestmark = pytest.mark.skipif(not REAL_SERVERS, reason=HOW_TO)

DIMENSION = 8
IDS = [str(uuid.UUID(int=number + 1)) for number in range(600)]
VECTORS = np.random.default_rng(1).normal(size=(600, DIMENSION)).astype(np.float32)
QUERY = VECTORS[0]
PAYLOAD = {"project_id": IDS[0], "source_group": "a group", "extraction_type": "fact"}
UNINDEXED = models.Filter(must=[models.FieldCondition(key="other", match=models.MatchValue(value="a"))])


@pytest.fixture(params=REAL_SERVERS or ["real-rest"])
def mode(request: pytest.FixtureRequest) -> Contract:
    mode: Contract = request.param
    return mode


@pytest.fixture
def collection() -> Iterator[str]:
    name = f"strict-{uuid.uuid4().hex[:12]}"
    yield name
    client = direct()
    client.delete_collection(name)
    client.close()


def direct() -> QdrantClient:
    return QdrantClient(url=real_server().url, check_compatibility=False)


@pytest.fixture
async def repository(
    mode: Contract, collection: str, executor: BoundedExecutor
) -> AsyncIterator[QdrantRepository]:
    client = open_vector_client(settings_of_real(mode, collection=collection), connections=4)
    lane = executor.lane("qdrant", limit=4, max_waiting=100, wait_timeout_s=60.0)
    retry = RetryPolicy(total_s=4.0, first_delay_s=0.05)
    found = QdrantRepository(client, lane, dimension=DIMENSION, collection=collection, retry=retry)
    await found.init_collection()
    yield found
    client.close()


def bound(collection: str, **bounds: Any) -> None:
    """Have the collection's strict mode be no more than this."""
    client = direct()
    client.update_collection(collection, strict_mode_config=models.StrictModeConfig(enabled=True, **bounds))
    client.close()


def items(start: int, stop: int) -> list[EmbeddingItem]:
    return [
        EmbeddingItem(IDS[number], VECTORS[number], {"project_id": IDS[0], "confidence": number / 600})
        for number in range(start, stop)
    ]


def exact(count: int) -> list[str]:
    """The ids of the most similar vectors, best first."""
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    scores = unit @ (QUERY / np.linalg.norm(QUERY))
    return [IDS[number] for number in np.argsort(-scores)[:count]]


async def test_batches_are_as_great_as_is_allowed(repository: QdrantRepository, collection: str) -> None:
    bound(collection, upsert_max_batchsize=100)
    assert await repository.upsert_batch(items(0, 600)) == IDS
    assert await repository.count() == 600
    assert repository._requests.size("upsert points", 256) == 100
    await repository.set_payloads({IDS[number]: {"confidence": number + 1.0} for number in range(300)})
    assert (await repository.payloads(IDS[:1]))[ExtractionId(uuid.UUID(IDS[0]))] == {"confidence": 1.0}
    assert await repository.delete_batch(IDS) == 600


async def test_searches_and_lists_have_all_that_was_asked_for(
    repository: QdrantRepository, collection: str
) -> None:
    await repository.upsert_batch(items(0, 600))
    bound(collection, max_query_limit=50)
    found = await repository.search(QUERY, 120)
    assert [str(each.extraction_id) for each in found] == exact(120)
    assert [str(each.extraction_id) for each in await repository.search(QUERY, 30, offset=70)] == exact(100)[
        70:
    ]
    listed = [str(id_) async for page in repository.iter_ids() for id_ in page]
    assert listed == sorted(IDS)
    assert len(await repository.existing_ids(IDS)) == 600


async def test_filters_by_many_ids_are_parted(repository: QdrantRepository, collection: str) -> None:
    await repository.upsert_batch(items(0, 600))
    bound(collection, condition_max_size=40)
    best = exact(600)
    chosen = best[100:350]
    found = await repository.search(QUERY, 10, Filters(extraction_ids=tuple(chosen)))
    assert [str(each.extraction_id) for each in found] == chosen[:10]


async def test_every_filter_is_by_an_indexed_field(repository: QdrantRepository, collection: str) -> None:
    await repository.upsert_batch(
        [
            EmbeddingItem(IDS[n], VECTORS[n], {**PAYLOAD, "confidence": n / 600, "generation": 0})
            for n in range(600)
        ]
    )
    bound(collection, unindexed_filtering_retrieve=False, unindexed_filtering_update=False)
    for filters in (
        Filters(PAYLOAD["project_id"]),
        Filters(source_groups=(PAYLOAD["source_group"],)),
        Filters(source_groups=(PAYLOAD["source_group"], "another")),
        Filters(extraction_types=(PAYLOAD["extraction_type"],)),
        Filters(min_confidence=0.0, max_confidence=1.0),
        Filters(extraction_ids=tuple(IDS)),
    ):
        assert len(await repository.search(QUERY, 5, filters)) == 5
        assert sum([len(page) async for page in repository.iter_ids(100, filters)]) == 600
    await repository.set_payloads({IDS[0]: {"confidence": 1.0}})
    assert await repository.delete_batch(IDS) == 600
    with pytest.raises(UnexpectedResponse, match="Index required"):
        direct().scroll(collection, scroll_filter=UNINDEXED)


async def test_what_may_be_written_in_a_minute_is_kept_to(
    repository: QdrantRepository, collection: str
) -> None:
    """First a batch above the server's limit, then one above its current allowance."""
    bound(collection, write_rate_limit=240)  # four points a second
    await repository.upsert_batch(items(0, 260))
    assert await repository.count() == 260
    assert repository._requests.size("upsert points", 256) < 240


async def test_what_may_be_read_in_a_minute_is_told(repository: QdrantRepository, collection: str) -> None:
    bound(collection, read_rate_limit=2)
    for _ in range(2):
        await repository.search(QUERY, 1)
    with pytest.raises(QdrantUnavailable, match="Read rate limit exceeded") as caught:
        await repository.search(QUERY, 1)
    assert (caught.value.retry_after_s or 0) > 4


async def test_what_the_strict_mode_allows_is_told(repository: QdrantRepository, collection: str) -> None:
    found = await repository.find_collection()
    assert found is not None
    assert found.strict_mode is None
    bound(collection, upsert_max_batchsize=100, max_query_limit=50)
    found = await repository.find_collection()
    assert found is not None
    assert found.strict_mode == "max_query_limit 50, upsert_max_batchsize 100"
