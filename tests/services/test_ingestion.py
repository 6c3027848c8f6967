"""Accepting extractions, once each, with the job that follows."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from support.parts import fill, index_all, make_item, open_container

from app.domain.filters import Filters
from app.domain.search import Query
from app.errors import InvalidInput
from app.models import Extraction, Job, Project, Source
from app.services.ingestion import RequestPart
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
    with pytest.raises(InvalidInput, match="isn't a project name"):
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


async def found(container: Container, filters: Filters) -> set[str]:
    hits = await container.search().search(Query("a fact", limit=100, filters=filters, project="papers"))
    return {str(hit.extraction.id) for hit in hits}


async def test_a_changed_confidence_reaches_the_index_without_embedding(
    container: Container, engine: Engine
) -> None:
    items = [make_item(n, confidence=0.2) for n in range(10)]
    await fill(container, items)
    again = [make_item(0, confidence=0.9), make_item(1, confidence=None), *items[2:]]
    accepted = await container.ingestion().accept("papers", again)
    assert (accepted.new, accepted.changed, accepted.job_id) == (set(), {accepted.ids[0]}, None)
    with Session(engine) as session:
        assert session.get_one(Extraction, accepted.ids[0]).confidence == 0.9
        assert session.get_one(Extraction, accepted.ids[1]).confidence == 0.2, "what is left out stays"
    assert await index_all(container) == 0
    assert await found(container, Filters(min_confidence=0.8)) == {str(accepted.ids[0])}


async def test_all_facts_of_a_source_follow_its_group(container: Container, engine: Engine) -> None:
    await fill(container, [make_item(n, source_uri="doc:a", source_group="old") for n in range(2_500)])
    items = [make_item(n, source_uri="doc:a", source_group="new") for n in (1, 2_500)]
    accepted = await container.ingestion().accept("papers", items)
    known, new = accepted.ids
    assert (accepted.new, accepted.changed) == ({new}, {known})
    assert len(accepted.payload_job_ids) == 3, "of at most 1,000 each"
    assert await index_all(container) == 1
    assert await found(container, Filters(source_groups=("old",))) == set()
    assert len(await found(container, Filters(source_groups=("new",)))) == 100
    with Session(engine) as session:
        assert session.scalars(select(Source.source_group)).all() == ["new"]
    async for differences in container.reconciliation().run(repair=False):
        assert differences.stale == 0


async def test_the_last_of_contradicting_items_counts(container: Container, engine: Engine) -> None:
    items = [make_item(1, confidence=value, source_group=group) for value, group in ((0.1, "a"), (0.2, "b"))]
    for turn, given in enumerate((items, items[::-1])):
        accepted = await container.ingestion().accept("papers", given)
        with Session(engine) as session:
            row = session.get_one(Extraction, accepted.ids[0])
            assert row.confidence == given[-1].confidence
            assert session.get_one(Source, row.source_id).source_group == given[-1].source_group
            assert accepted.changed == (set(accepted.ids) if turn else set())


async def test_a_request_sent_again_is_told_the_same_changes(container: Container) -> None:
    await container.ingestion().accept("papers", [make_item(n) for n in range(4)])
    changed = [make_item(n, source_group="other") for n in range(3)]
    first = await container.ingestion().accept("papers", changed, RequestPart("key"))
    assert first.changed == set(first.ids)
    assert await container.ingestion().accept("papers", changed, RequestPart("key")) == first


async def test_a_change_while_vectors_are_made_reaches_the_index(container: Container) -> None:
    await container.indexing().prepare()
    await container.ingestion().accept("papers", [make_item(1, confidence=0.1)])
    accepted = await container.ingestion().accept("papers", [make_item(1, confidence=0.9)])
    await index_all(container)
    assert await found(container, Filters(min_confidence=0.8)) == {str(accepted.ids[0])}
