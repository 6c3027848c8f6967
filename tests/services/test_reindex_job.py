"""The job that rebuilds the index: resumed after an interruption, superseded, done exactly once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from support.jobs import job_of, jobs_of
from support.parts import fill, index_all, make_item, open_container
from support.rows import writing

from app.domain.jobs import JobType
from app.domain.search import Query, SearchMode
from app.domain.upkeep import Differences
from app.errors import IndexRebuilding, JobCancelled, ReindexSuperseded
from app.services.jobs.running import RunningJob
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.lease import LeaseRepository
from containers import Container


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


async def compared(container: Container) -> Differences:
    return [each async for each in container.reconciliation().run()][-1]


def generation(engine: Engine) -> int:
    with writing(engine) as session:
        state = IndexStateRepository(session).get()
        assert state is not None
        return state.generation


def claimed(container: Container, engine: Engine) -> RunningJob:
    """The open reindex as a worker's, on this event loop."""
    with writing(engine) as session:
        [claim] = LeaseRepository(session).claim([JobType.REINDEX], limit=1, lease_s=60)
    return RunningJob(claim, container.database(), 60)


async def test_a_job_rebuilds_the_index(container: Container, engine: Engine) -> None:
    await fill(container, [make_item(n) for n in range(120)])
    before = generation(engine)
    job = await container.jobs().reindex()
    assert (await container.jobs().reindex()).id == job.id, "one at a time"
    await index_all(container)
    done = await container.jobs().get(job.id)
    assert (done.status, done.done, done.total) == ("completed", 120, 120)
    assert done.result is not None
    assert {**done.result, "embedder": ""} == {"indexed": 120, "set_aside": 0, "cut": 0, "embedder": ""}
    assert "deterministic" in done.result["embedder"]
    assert generation(engine) == before + 1
    assert await compared(container) == Differences(extractions=120, points=120)
    assert (await container.jobs().reindex()).id != job.id


async def test_the_index_is_usable_when_the_job_is_completed_and_not_before(
    container: Container, engine: Engine
) -> None:
    await fill(container, [make_item(n) for n in range(5)])
    job = await container.jobs().reindex()
    running = claimed(container, engine)
    done = await container.reindexing().reindex(running)
    with pytest.raises(IndexRebuilding):
        await container.search().search(Query("mountain", mode=SearchMode.MEANING))
    assert done.effect is not None
    with writing(engine) as session:
        done.effect(session)
    assert len(await container.search().search(Query("mountain", mode=SearchMode.MEANING))) == 5
    assert job_of(engine, job.id).status == "running"


async def test_a_job_that_was_cancelled_half_way_is_gone_on_with_by_the_next(
    container: Container, engine: Engine
) -> None:
    await fill(container, [make_item(n) for n in range(120)])
    job = await container.jobs().reindex()
    running = claimed(container, engine)
    running.note_progress(done=0)
    seen: list[int] = []
    report = running.report

    async def report_and_cancel(*, done: int, total: int | None = None) -> None:
        seen.append(done)
        if done:
            with writing(engine) as session:
                JobRepository(session).cancel(job.id)
        await report(done=done, total=total)

    running.report = report_and_cancel  # type: ignore[method-assign]  # to cancel at a known moment
    with pytest.raises(JobCancelled):
        await container.reindexing().reindex(running)
    assert seen == [0, 50]
    with pytest.raises(IndexRebuilding):
        await container.search().search(Query("mountain", mode=SearchMode.MEANING))
    with writing(engine) as session:
        LeaseRepository(session).expire_all()
    before = generation(engine)
    assert await container.reindexing().total() == 70
    assert [each.indexed async for each in container.reindexing().run()] == [50, 20]
    assert generation(engine) == before
    assert await compared(container) == Differences(extractions=120, points=120)


async def test_a_job_that_another_reindex_has_overtaken_fails_and_begins_no_third(
    container: Container, engine: Engine
) -> None:
    await fill(container, [make_item(n) for n in range(5)])
    job = await container.jobs().reindex()
    running = claimed(container, engine)
    done = await container.reindexing().reindex(running)
    with writing(engine) as session:  # as an overtaking one does first
        state = IndexStateRepository(session).get_for_rebuilding()
        assert state is not None
        state.generation += 1
    assert done.effect is not None
    with pytest.raises(ReindexSuperseded), writing(engine) as session:
        done.effect(session)
    assert not ReindexSuperseded.retryable
    assert [each.type for each in jobs_of(engine) if each.completed_at is None] == [JobType.REINDEX]
    assert job_of(engine, job.id).status == "running"
