"""Extractions by filter: page by page, counted, and tried again when they were set aside."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session
from support.parts import fill, index_all, make_item, open_container
from support.rows import store_extractions, writing
from support.wheres import where

from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.errors import InvalidInput, NotFound
from app.models import Extraction, Job
from app.services.storage.repositories.extraction import ExtractionRepository
from containers import Container

COUNT = 2_350
REASON = "the endpoint refused the text"


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


@pytest.fixture
async def set_aside(container: Container, engine: Engine) -> list[ExtractionId]:
    """Six are stored; the ids of those of even numbers, which are set aside."""
    await container.indexing().prepare()
    accepted = await container.ingestion().accept("papers", [make_item(n) for n in range(6)])
    with writing(engine) as session:
        ExtractionRepository(session).set_aside(dict.fromkeys(accepted.ids[::2], REASON))
    await index_all(container)
    return accepted.ids[::2]


async def count(container: Container, *, indexed: bool | None = None, set_aside: bool | None = None) -> int:
    return await container.extractions().count("papers", Filters(indexed=indexed, set_aside=set_aside))


class TestPages:
    @pytest.mark.parametrize("limit", [None, 1, 1_000, 1_001, COUNT, COUNT + 1])
    async def test_hold_each_once_by_id_as_many_as_asked_for(
        self, container: Container, engine: Engine, limit: int | None
    ) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, COUNT)
            store_extractions(session, 3, "others")
        pages = [page async for page in container.extractions().iter_pages("papers", Filters(), limit=limit)]
        assert [row.id for page in pages for row in page] == ids[:limit]
        assert all(0 < len(page) <= 1_000 for page in pages)
        assert {row.project for page in pages for row in page} == {"papers"}

    async def test_of_what_nothing_passes_there_are_none(self, container: Container) -> None:
        await fill(container, [make_item(1)])
        nothing = Filters(extraction_types=("none",))
        assert [page async for page in container.extractions().iter_pages("papers", nothing)] == []
        assert [page async for page in container.extractions().iter_pages("papers", Filters(), limit=0)] == []

    async def test_of_an_unknown_project_are_refused(self, container: Container) -> None:
        with pytest.raises(NotFound, match="nowhere"):
            await anext(container.extractions().iter_pages("nowhere", Filters()))
        with pytest.raises(NotFound, match="nowhere"):
            await container.extractions().count("nowhere")


class TestRetrying:
    async def test_indexes_what_was_set_aside(
        self, container: Container, set_aside: list[ExtractionId]
    ) -> None:
        assert await count(container, set_aside=True) == len(set_aside) == 3
        retried = await container.extractions().retry("papers")
        assert (retried.extractions, len(retried.job_ids)) == (3, 1)
        assert await count(container, set_aside=True) == 0
        assert await count(container, indexed=False, set_aside=False) == 3
        assert await index_all(container) == 3
        assert await count(container, indexed=True) == 6
        assert (await container.extractions().retry("papers")).job_ids == []

    async def test_takes_those_alone_that_are_chosen(
        self, container: Container, set_aside: list[ExtractionId]
    ) -> None:
        service = container.extractions()
        [row] = await service.list("papers", Filters(where=where({"n": 2})), limit=1)
        assert (await service.retry("papers", Filters(where=where({"n": 1})))).extractions == 0
        assert (await service.retry("papers", Filters(where=where({"n": 2})))).extractions == 1
        assert (await service.retry("papers", Filters(extraction_ids=(row.id,)))).extractions == 0
        assert (await service.retry("papers", Filters(extraction_ids=tuple(set_aside)))).extractions == 2
        await fill(container, [make_item(9)], project="others")
        assert (await service.retry("others")).extractions == 0

    async def test_sets_aside_again_what_still_fails(
        self, container: Container, engine: Engine, set_aside: list[ExtractionId]
    ) -> None:
        with Session(engine) as session, session.begin():
            session.execute(update(Extraction).where(Extraction.id == set_aside[0]).values(data={}))
        await container.extractions().retry("papers")
        assert await index_all(container) == 2
        again = await container.extractions().list("papers", Filters(set_aside=True), limit=9)
        assert [row.id for row in again] == [set_aside[0]]
        assert again[0].set_aside_reason not in {None, REASON}

    async def test_queues_a_job_for_each_thousand(self, container: Container, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, COUNT)
            ExtractionRepository(session).set_aside(dict.fromkeys(ids, REASON))
        retried = await container.extractions().retry("papers")
        assert retried.extractions == COUNT
        with Session(engine) as session:
            jobs = [session.get_one(Job, job_id).payload["extraction_ids"] for job_id in retried.job_ids]
        assert [len(job) for job in jobs] == [1_000, 1_000, 350]
        assert sorted(id_ for job in jobs for id_ in job) == [str(id_) for id_ in ids]

    async def test_of_what_is_not_set_aside_is_refused(
        self, container: Container, set_aside: list[ExtractionId]
    ) -> None:
        with pytest.raises(InvalidInput, match="only extractions that are set aside"):
            await container.extractions().retry("papers", Filters(set_aside=False))
        with pytest.raises(NotFound, match="nowhere"):
            await container.extractions().retry("nowhere")
        assert await count(container, set_aside=True) == len(set_aside)
