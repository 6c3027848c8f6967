"""The jobs that compare the stores, and repair them: of one project or of all, one at a time."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session
from support.faulty_client import FaultyClient, When
from support.jobs import jobs_of
from support.parts import fill, index_all, make_item, open_container
from support.rows import writing
from support.waiting import until
from support.wheres import where

from app.domain.filters import Filters
from app.domain.jobs import JobType, has_ended
from app.errors import InvalidField, LeaseLost, NotFound
from app.models import Extraction, ExtractionWords
from app.services.storage.repositories.lease import LeaseRepository
from containers import Container

GHOST = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


async def spoil(container: Container, project: str) -> None:
    """A ghost in that project, and a row whose vector is gone."""
    [summary] = [each for each in await container.projects().list() if each.name == project]
    qdrant = container.qdrant_repository()
    await qdrant.upsert(GHOST, [1.0] * 32, {"project_id": str(summary.id)})
    [first] = await container.extractions().list(project, Filters(), limit=1)
    await qdrant.delete(str(first.id))


async def test_verify_tells_what_differs(container: Container) -> None:
    await fill(container, [make_item(n) for n in range(120)])
    await spoil(container, "papers")
    job = await container.jobs().verify()
    await index_all(container)
    found = await container.jobs().get(job.id)
    assert found.status == "completed"
    assert found.result is not None
    assert {
        name: found.result[name] for name in ("extractions", "points", "ghosts", "missing", "remaining")
    } == {
        "extractions": 120,
        "points": 120,
        "ghosts": 1,
        "missing": 1,
        "remaining": 2,
    }
    assert found.done == 240
    assert has_ended(found)


async def test_verify_looks_at_one_project_alone(container: Container) -> None:
    await fill(container, [make_item(n) for n in range(5)], project="papers")
    await fill(container, [make_item(n) for n in range(7)], project="notes")
    await spoil(container, "papers")
    well = await container.jobs().verify("notes")
    spoilt = await container.jobs().verify("papers")
    await index_all(container)
    assert ((await container.jobs().get(well.id)).result or {})["remaining"] == 0
    assert ((await container.jobs().get(well.id)).result or {})["points"] == 7
    assert ((await container.jobs().get(spoilt.id)).result or {})["remaining"] == 2


async def test_repair_repairs_one_project_alone(container: Container) -> None:
    await fill(container, [make_item(n) for n in range(5)], project="papers")
    await fill(container, [make_item(n) for n in range(7)], project="notes")
    await spoil(container, "papers")
    await container.jobs().verify("notes", repair=True)
    await index_all(container)
    before = await container.jobs().verify()
    await index_all(container)
    assert ((await container.jobs().get(before.id)).result or {})["remaining"] == 2
    await container.jobs().verify("papers", repair=True)
    await index_all(container)
    after = await container.jobs().verify()
    await index_all(container)
    assert ((await container.jobs().get(after.id)).result or {})["remaining"] == 0


async def test_a_repair_that_lost_its_lease_clears_no_mark_that_another_has_set_anew(
    container: Container, engine: Engine, tmp_path: Path
) -> None:
    """Its worker stalls after it found a vector missing; the next attempt repairs it meanwhile."""
    await fill(container, [make_item(n) for n in range(5)])
    await spoil(container, "papers")
    await container.jobs().verify(repair=True)
    slow = FaultyClient(container.qdrant_client())
    slow.hold(When(1, done=True))
    with open_container(tmp_path, engine=engine, qdrant_client=slow) as other:
        late = asyncio.create_task(other.worker().run_one())
        await until(lambda: slow.is_held)
        with writing(engine) as session:
            LeaseRepository(session).expire_all()
        await index_all(container)
        slow.go_on()
        with pytest.raises(LeaseLost):
            await late
    with Session(engine) as session:
        assert all(row.embedding_id == str(row.id) for row in session.scalars(select(Extraction)))


async def test_of_a_project_one_verification_is_open_at_a_time(container: Container, engine: Engine) -> None:
    await container.indexing().prepare()
    await container.projects().create("papers")
    first = await container.jobs().verify("papers")
    assert (await container.jobs().verify("papers")).id == first.id
    assert (await container.jobs().verify()).id != first.id
    assert (await container.jobs().verify("papers", repair=True)).id != first.id
    await index_all(container)
    assert (await container.jobs().verify("papers")).id != first.id
    assert {job.type for job in jobs_of(engine)} == {JobType.VERIFY, JobType.REPAIR}


async def test_a_project_that_is_not_there_is_refused(container: Container, engine: Engine) -> None:
    with pytest.raises(NotFound, match="no project 'nothing'"):
        await container.jobs().verify("nothing")
    with pytest.raises(InvalidField):
        [_ async for _ in container.reconciliation().run(project="no name")]
    assert jobs_of(engine) == []


class TestDeleting:
    async def test_by_ids_in_their_project_alone(self, container: Container) -> None:
        await fill(container, [make_item(n) for n in range(6)], project="papers")
        await fill(container, [make_item(n) for n in range(3)], project="notes")
        ids = [row.id for row in await container.extractions().list("papers", Filters(), limit=4)]
        foreign = [row.id for row in await container.extractions().list("notes", Filters(), limit=4)]
        deleted = await container.extractions().delete_batch("papers", [*ids, *foreign])
        assert (deleted.extractions, len(deleted.job_ids)) == (4, 1)
        await index_all(container)
        assert await container.qdrant_repository().count() == 5
        assert (await container.extractions().delete_batch("papers", ids)).job_ids == []

    async def test_by_filter(self, container: Container) -> None:
        await fill(container, [make_item(n) for n in range(20)])
        odd = Filters(where=where({"odd": True}))
        assert (await container.extractions().delete_matching("papers", odd)).extractions == 10
        await index_all(container)
        assert await container.qdrant_repository().count() == 10
        assert await container.extractions().list("papers", odd, limit=1) == []

    @pytest.mark.slow
    async def test_many_are_deleted_in_one_transaction_and_several_jobs(self, container: Container) -> None:
        await fill(container, [make_item(n) for n in range(2_500)])
        deleted = await container.extractions().delete_matching("papers", Filters(min_confidence=0.0))
        assert (deleted.extractions, len(deleted.job_ids)) == (2_500, 3)

    async def test_one(self, container: Container) -> None:
        await fill(container, [make_item(1)])
        [row] = await container.extractions().list("papers", Filters(), limit=1)
        await container.extractions().delete(row.id)
        with pytest.raises(NotFound):
            await container.extractions().get(row.id)
        with pytest.raises(NotFound):
            await container.extractions().delete(row.id)
        await index_all(container)
        assert await container.qdrant_repository().count() == 0


async def test_verify_counts_the_words_that_differ_and_repair_makes_them(
    container: Container, engine: Engine
) -> None:
    await fill(container, [make_item(n) for n in range(20)])
    with writing(engine) as session:
        numbers = session.scalars(select(ExtractionWords.number)).all()
        session.execute(delete(ExtractionWords).where(ExtractionWords.number.in_(numbers[:3])))
        session.execute(update(ExtractionWords).where(ExtractionWords.number == numbers[3]).values(made_by=1))
    results = []
    for repair in (False, True, False):
        job = await container.jobs().verify(repair=repair)
        await index_all(container)
        result = (await container.jobs().get(job.id)).result or {}
        names = ("words_missing", "words_stale", "repaired_words_missing", "repaired_words_stale", "remaining")
        results.append(tuple(result[name] for name in names))
    assert results == [(3, 1, 0, 0, 4), (3, 1, 3, 1, 0), (0, 0, 0, 0, 0)]
