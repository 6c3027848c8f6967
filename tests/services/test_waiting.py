"""Waiting until what was stored or deleted has reached the index."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine
from support.facts import fact
from support.parts import open_container

from app.domain.filters import Filters
from app.domain.outcomes import Waited
from app.domain.search import Query
from app.domain.sources import SourceFacts
from app.errors import InvalidField
from containers import Container

PROJECT = "papers"
ENDED = Waited([], [])
LONG_S = 60


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


@asynccontextmanager
async def working(container: Container) -> AsyncIterator[None]:
    await container.indexing().prepare()
    worker = container.worker()
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await running


async def found(container: Container) -> list[str]:
    hits = await container.search().search(Query("umbrella", project=PROJECT))
    return sorted(hit.extraction.data["fact_text"] for hit in hits)


async def test_what_was_stored_can_be_found_when_the_call_returns(container: Container) -> None:
    async with working(container):
        accepted = await container.ingestion().accept(PROJECT, [fact("a", "umbrella")], wait=LONG_S)
        assert accepted.waited == ENDED
        assert await found(container) == ["umbrella"]
        again = await container.ingestion().accept(PROJECT, [fact("a", "umbrella")], wait=LONG_S)
        assert again.waited == ENDED


async def test_what_was_replaced_or_deleted_is_found_no_more(container: Container) -> None:
    async with working(container):
        await container.ingestion().accept(PROJECT, [fact("a", "umbrella"), fact("a", "hat")], wait=LONG_S)
        rain = SourceFacts("a", [fact("a", "hat"), fact("a", "raincoat")])
        replaced = await container.ingestion().replace(PROJECT, [rain], wait=LONG_S)
        assert replaced.waited == ENDED
        assert await container.qdrant_repository().count() == 2
        assert await found(container) == ["hat", "raincoat"]
        deleted = await container.extractions().delete_matching(PROJECT, Filters(), wait=LONG_S)
        assert (deleted.extractions, deleted.waited) == (2, ENDED)
        assert await container.qdrant_repository().count() == 0


async def test_what_still_runs_is_told_and_stays_stored(container: Container) -> None:
    accepted = await container.ingestion().accept(PROJECT, [fact("a", "umbrella")], wait=0.1)
    assert accepted.waited == Waited(accepted.job_ids, [])
    [row] = await container.extractions().list(PROJECT, Filters())
    deleted = await container.extractions().delete(row.id, wait=0)
    assert deleted.waited == Waited(deleted.job_ids, [])


async def test_a_job_that_failed_or_was_cancelled_is_told(container: Container) -> None:
    accepted = await container.ingestion().accept(PROJECT, [fact("a", "umbrella")])
    waiting = asyncio.create_task(container.jobs().wait(accepted.job_ids, LONG_S))
    await container.jobs().cancel(accepted.job_ids[0])
    assert await waiting == Waited([], accepted.job_ids)


@pytest.mark.parametrize("seconds", [-1, 60.1, float("nan"), True])
async def test_a_wait_out_of_bounds_is_refused_and_changes_nothing(
    container: Container, seconds: float
) -> None:
    await container.ingestion().accept(PROJECT, [fact("a", "umbrella")])
    with pytest.raises(InvalidField, match="0 to 60 seconds"):
        await container.ingestion().accept(PROJECT, [fact("a", "hat")], wait=seconds)
    with pytest.raises(InvalidField, match="0 to 60 seconds"):
        await container.ingestion().replace(PROJECT, [SourceFacts("a", [])], wait=seconds)
    with pytest.raises(InvalidField, match="0 to 60 seconds"):
        await container.extractions().delete_matching(PROJECT, Filters(), wait=seconds)
    [row] = await container.extractions().list(PROJECT, Filters())
    assert row.data == {"fact_text": "umbrella"}
