"""Accepting extractions, once each, with the job that follows."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from support.parts import index_all, make_item, open_container

from app.errors import InvalidInput
from app.models import Extraction, Job, Project, Source
from containers import Container


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


def counts(engine: Engine) -> dict[str, int]:
    with Session(engine) as session:
        tables = (Project, Source, Extraction, Job)
        return {t.__tablename__: session.scalar(select(func.count()).select_from(t)) or 0 for t in tables}


async def test_one_transaction_stores_sources_extractions_and_the_job(
    container: Container, engine: Engine
) -> None:
    accepted = await container.ingestion().accept("papers", [make_item(n) for n in range(10)])
    assert len(accepted.new) == len(set(accepted.ids)) == 10
    assert counts(engine) == {"projects": 1, "sources": 5, "extractions": 10, "jobs": 1}
    with Session(engine) as session:
        job = session.scalars(select(Job)).one()
        assert job.id == accepted.job_id
        assert job.status == "queued"
        assert job.payload == {"extraction_ids": [str(id_) for id_ in accepted.ids]}


async def test_the_same_items_again_store_nothing(container: Container, engine: Engine) -> None:
    items = [make_item(n) for n in range(10)]
    first = await container.ingestion().accept("papers", items)
    before = counts(engine)
    again = await container.ingestion().accept("papers", items)
    assert again.ids == first.ids
    assert again.new == set()
    assert again.job_id is None
    assert counts(engine) == before


async def test_an_item_twice_in_a_batch_is_stored_once(container: Container, engine: Engine) -> None:
    accepted = await container.ingestion().accept("papers", [make_item(1), make_item(1), make_item(2)])
    assert accepted.ids[0] == accepted.ids[1]
    assert len(accepted.new) == 2
    assert counts(engine)["extractions"] == 2


async def test_projects_are_apart(container: Container, engine: Engine) -> None:
    one = await container.ingestion().accept("one", [make_item(1)])
    two = await container.ingestion().accept("two", [make_item(1)])
    assert one.ids != two.ids
    assert counts(engine) == {"projects": 2, "sources": 2, "extractions": 2, "jobs": 2}


async def test_a_bad_project_name_stores_nothing(container: Container, engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="no project name"):
        await container.ingestion().accept("no good", [make_item(1)])
    assert set(counts(engine).values()) == {0}


async def test_many_producers_of_the_same_items_store_each_once(container: Container, engine: Engine) -> None:
    items = [make_item(n) for n in range(40)]
    accepted = await asyncio.gather(
        *(container.ingestion().accept("papers", items[start:] + items[:start]) for start in range(0, 40, 5))
    )
    assert sum(len(each.new) for each in accepted) == 40
    assert counts(engine)["extractions"] == 40
    await container.indexing().prepare()
    assert await index_all(container) == 40
