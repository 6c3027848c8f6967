"""With any filters, searching and listing give the result of filtering in Python."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.qdrant_modes import STUBS, Clients, Contract, stub_servers
from support.wheres import where

from app.domain.filters import Filters
from app.errors import InvalidInput, QdrantError
from app.executor import BoundedExecutor
from app.services.storage.qdrant.ports import VectorClient
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository

DIMENSION = 16
POINTS = 150
MODES: tuple[Contract, ...] = ("memory", "embedded", *STUBS)

_RNG = np.random.default_rng(0)


def _item(number: int) -> EmbeddingItem:
    payload: dict[str, Any] = {
        "project_id": f"p{_RNG.integers(2)}",
        "source_group": None if number % 10 == 0 else f"g{_RNG.integers(3)}",
        "extraction_type": f"t{_RNG.integers(3)}",
        "confidence": None if number % 5 == 0 else int(_RNG.integers(11)) / 10,
    }
    if number % 7 == 0:
        del payload["confidence"]
    vector = _RNG.standard_normal(DIMENSION) * 10.0 ** _RNG.integers(-3, 4)
    return EmbeddingItem(uuid.UUID(bytes=_RNG.bytes(16), version=4), vector, payload)


ITEMS = [_item(number) for number in range(POINTS)]
IDS = [uuid.UUID(str(item.extraction_id)) for item in ITEMS]
VECTORS = np.array([item.embedding for item in ITEMS])


@pytest.fixture(scope="module")
def executor() -> Iterator[BoundedExecutor]:
    executor = BoundedExecutor(max_workers=4)
    yield executor
    assert executor.close(timeout_s=10.0)


@pytest.fixture(scope="module")
def repositories(executor: BoundedExecutor) -> Iterator[dict[Contract, QdrantRepository]]:
    """One a mode, all with the same points."""
    with stub_servers() as stubs, Clients(stubs) as clients:
        made = {mode: _repository(executor, mode, clients(mode)) for mode in MODES}
        for repository in made.values():
            asyncio.run(_fill(repository))
        yield made


def _repository(executor: BoundedExecutor, mode: str, client: VectorClient) -> QdrantRepository:
    lane = executor.lane(mode, limit=1, max_waiting=10, wait_timeout_s=30.0)
    return QdrantRepository(client, lane, dimension=DIMENSION)


async def _fill(repository: QdrantRepository) -> None:
    await repository.init_collection()
    await repository.upsert_batch(ITEMS)


def _some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=3).map(tuple)


BOUNDS = st.none() | st.integers(-1, 11).map(lambda tenths: tenths / 10) | st.floats(-0.1, 1.1)
FILTERS = st.none() | st.builds(
    Filters,
    project_id=st.sampled_from([None, "p0", "p1", "", "none"]),
    source_groups=_some(["g0", "g1", "g2", "none"]),
    extraction_types=_some(["t0", "t1", "t2", ""]),
    min_confidence=BOUNDS,
    max_confidence=BOUNDS,
    extraction_ids=st.none() | st.lists(st.sampled_from([*IDS, uuid.UUID(int=1)]), max_size=60).map(tuple),
)
QUERIES = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).standard_normal(DIMENSION))


def _passes(item: EmbeddingItem, filters: Filters | None) -> bool:
    if filters is None:
        return True
    payload, confidence = item.payload, item.payload.get("confidence")
    low, high = filters.min_confidence, filters.max_confidence
    return (
        filters.project_id in (None, payload["project_id"])
        and (not filters.source_groups or payload["source_group"] in filters.source_groups)
        and (not filters.extraction_types or payload["extraction_type"] in filters.extraction_types)
        and (low is None or (confidence is not None and confidence >= low))
        and (high is None or (confidence is not None and confidence <= high))
        and (filters.extraction_ids is None or item.extraction_id in filters.extraction_ids)
    )


@settings(max_examples=25)
@given(filters=FILTERS)
def test_listing_gives_the_ids_that_pass(
    repositories: dict[Contract, QdrantRepository], filters: Filters | None
) -> None:
    async def listed(repository: QdrantRepository) -> list[uuid.UUID]:
        return [id_ async for page in repository.iter_ids(40, filters) for id_ in page]

    expected = sorted(id_ for id_, item in zip(IDS, ITEMS, strict=True) if _passes(item, filters))
    for mode, repository in repositories.items():
        assert asyncio.run(listed(repository)) == expected, mode


@pytest.mark.slow
@settings(max_examples=40)
@given(query=QUERIES, filters=FILTERS, limit=st.integers(1, 40), offset=st.integers(0, 10))
def test_searching_gives_the_nearest_of_those_that_pass(
    repositories: dict[Contract, QdrantRepository],
    query: NDArray[np.float64],
    filters: Filters | None,
    limit: int,
    offset: int,
) -> None:
    """Scores within 2e-6 of float64 arithmetic; the same points, in an order those scores allow."""
    cosines = VECTORS @ query / np.linalg.norm(VECTORS, axis=1) / np.linalg.norm(query)
    truth = {
        id_: float(cosine)
        for id_, item, cosine in zip(IDS, ITEMS, cosines, strict=True)
        if _passes(item, filters)
    }
    ranked = sorted(truth.values(), reverse=True)[offset : offset + limit]
    for mode, repository in repositories.items():
        found = asyncio.run(repository.search(query, limit, filters, offset))
        assert [result.score for result in found] == pytest.approx(ranked, abs=2e-6), mode
        assert [truth[result.extraction_id] for result in found] == pytest.approx(ranked, abs=2e-6), mode
        assert len({result.extraction_id for result in found}) == len(found), mode


@pytest.mark.parametrize(
    "filters",
    [
        Filters(where=where({"a": 1})),
        Filters(source_uris=("a",)),
        Filters(run_ids=(uuid.UUID(int=1),)),
        Filters(indexed=True),
        Filters(set_aside=False),
    ],
)
def test_what_no_index_holds_is_refused(
    repositories: dict[Contract, QdrantRepository], filters: Filters
) -> None:
    for repository in repositories.values():
        with pytest.raises((InvalidInput, QdrantError), match="is for SQL"):
            asyncio.run(repository.search(np.ones(DIMENSION), 1, filters))
