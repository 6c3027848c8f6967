"""Indexes on data are created, filled and dropped during writes, and always find every fact."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from support.facts import fact
from support.jobs import jobs_of
from support.parts import open_container
from support.rows import make_project, new_extraction, writing

from app.database import WriteSession
from app.domain.filters import Filters
from app.domain.jobs import JobType
from app.domain.sources import ReplaceOptions, SourceFacts
from app.errors import InvalidField
from app.intake.where_text import parse_where
from app.services.creating import create_facts
from app.services.data_indexes import AppliedIndexes, DataIndexing
from app.services.jobs.running import RunningJob
from app.services.storage.repositories.data_indexes import DataIndexRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.lease import LeaseRepository
from containers import Container

pytestmark = pytest.mark.contract


@pytest.fixture
async def container(tmp_path: Path, engine: Engine) -> AsyncIterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


def indexing(container: Container, *paths: str) -> DataIndexing:
    return DataIndexing(container.database(), paths=paths)


async def made(container: Container, *paths: str) -> AppliedIndexes:
    """What the indexes are applied to, and brought on to the end."""
    applied = await indexing(container, *paths).apply()
    await brought_on(container)
    return applied


async def brought_on(container: Container) -> list[tuple[str, int, int | None]]:
    return [tuple(each) async for each in indexing(container).carry_out()]  # type: ignore[misc]  # a named tuple


def store(engine: Engine, count: int, start: int = 0) -> None:
    with writing(engine) as session:
        project = make_project(session)
        template = new_extraction(session, project)
        rows = [new_extraction(session, project, data={"n": start + number}) for number in range(count)]
        create_facts(session, [row._replace(source_id=template.source_id) for row in rows])


def numbers_found(engine: Engine, where: str) -> int:
    with writing(engine) as session:
        filters = Filters(make_project(session), where=parse_where(where))
        return ExtractionRepository(session).count(filters)


def states(engine: Engine) -> dict[str, str]:
    with writing(engine) as session:
        return {row.path: row.state for row in DataIndexRepository(session).list()}


def keys(engine: Engine) -> int:
    with writing(engine) as session:
        return session.scalar(text("SELECT count(*) FROM data_keys")) or 0


async def test_an_index_is_filled_with_what_is_there_and_kept(container: Container, engine: Engine) -> None:
    store(engine, 30)
    assert await made(container, "n", "data.n", "metadata.page") == AppliedIndexes(made=["n", "metadata.page"])
    assert states(engine) == {"n": "ready", "metadata.page": "ready"}
    assert keys(engine) == 30
    store(engine, 5, start=100)
    assert keys(engine) == 35
    assert numbers_found(engine, "n >= 100") == 5
    assert await made(container, "n", "metadata.page") == AppliedIndexes(kept=["n", "metadata.page"])
    assert keys(engine) == 35


async def test_one_that_is_not_named_any_more_is_dropped(container: Container, engine: Engine) -> None:
    store(engine, 30)
    await made(container, "n", "x")
    assert await made(container, "x") == AppliedIndexes(dropped=["n"], kept=["x"])
    assert (states(engine), keys(engine)) == ({"x": "ready"}, 0)
    assert numbers_found(engine, "n >= 10") == 20


async def test_one_can_be_made_again_while_it_is_being_dropped(container: Container, engine: Engine) -> None:
    store(engine, 30)
    await made(container, "n")
    await indexing(container).apply()
    store(engine, 1, start=100)  # the dropped one gets no keys any more
    assert keys(engine) == 30
    assert (await indexing(container, "n").apply()).made == ["n"]
    await brought_on(container)
    assert (states(engine), keys(engine)) == ({"n": "ready"}, 31)


async def test_what_is_stored_while_an_index_is_filled_is_found(container: Container, engine: Engine) -> None:
    store(engine, 2_500)
    fill = indexing(container, "n")
    await fill.apply()
    pages = 0
    async for progress in fill.carry_out():
        assert progress.path == "n"
        assert progress.total is not None
        assert progress.done <= progress.total
        store(engine, 10, start=10_000 + 10 * pages)
        pages += 1
    assert pages >= 5
    assert numbers_found(engine, "n >= 0") == 2_500 + 10 * pages == keys(engine)


def claimed(container: Container, engine: Engine) -> RunningJob:
    with writing(engine) as session:
        [claim] = LeaseRepository(session).claim([JobType.INDEX_DATA], limit=1, lease_s=60)
    return RunningJob(claim, container.database(), 60)


async def test_the_job_goes_on_where_it_was_cut_short(container: Container, engine: Engine) -> None:
    store(engine, 2_300)
    await indexing(container, "n").apply()
    fill = indexing(container).carry_out()
    assert (await anext(fill)).done == 500
    await fill.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert (states(engine), keys(engine)) == ({"n": "filling"}, 500)
    done = await indexing(container).index_data(claimed(container, engine))
    assert done.result == {"done": 1_800}
    assert (states(engine), keys(engine)) == ({"n": "ready"}, 2_300)


async def test_a_worker_fills_and_empties(container: Container, engine: Engine) -> None:
    store(engine, 10)
    await indexing(container, "n").apply()
    while await container.worker().run_one((JobType.INDEX_DATA,)) is not None:
        pass
    assert (states(engine), keys(engine)) == ({"n": "ready"}, 10)
    await indexing(container).apply()
    while await container.worker().run_one((JobType.INDEX_DATA,)) is not None:
        pass
    assert (states(engine), keys(engine)) == ({}, 0)
    assert {job.status for job in jobs_of(engine) if job.type == JobType.INDEX_DATA} == {"completed"}


async def test_two_who_fill_share_the_work(container: Container, engine: Engine) -> None:
    store(engine, 1_700)
    await indexing(container, "n").apply()
    one, other = indexing(container).carry_out(), indexing(container).carry_out()
    done = 0
    for each in (one, other, one, other):
        done = max(done, (await anext(each)).done)
    assert (done, keys(engine)) == (1_000, 1_700)
    await brought_on(container)
    assert (states(engine), keys(engine)) == ({"n": "ready"}, 1_700)
    assert [progress.done async for progress in other] == [700]
    assert states(engine) == {"n": "ready"}


async def test_who_worked_on_a_dropped_index_leaves_the_next_one_alone(
    container: Container, engine: Engine
) -> None:
    store(engine, 1_500)
    await indexing(container, "n").apply()
    late = indexing(container).carry_out()
    await anext(late)
    await made(container)
    await indexing(container, "m", "n").apply()
    assert [progress.done async for progress in late] == [500]
    await brought_on(container)
    assert numbers_found(engine, "n >= 0") == 1_500
    assert (states(engine), keys(engine)) == ({"m": "ready", "n": "ready"}, 1_500)


async def test_filling_stops_where_the_index_is_dropped_meanwhile(container: Container, engine: Engine) -> None:
    store(engine, 2_300)
    await indexing(container, "n").apply()
    fill = indexing(container).carry_out()
    await anext(fill)
    await indexing(container).apply()
    assert [progress.done async for progress in fill] == [500]
    assert states(engine) == {"n": "dropping"}
    await brought_on(container)
    assert (states(engine), keys(engine)) == ({}, 0)


async def test_replacing_and_undoing_keep_the_keys(container: Container, engine: Engine) -> None:
    await made(container, "fact_text", "metadata.page")
    items = [fact("a", f"text {page}", metadata={"page": page}) for page in range(3)]
    await container.ingestion().accept("papers", items)
    assert numbers_found(engine, "metadata.page = 2") == 1
    run = await container.runs().begin("papers", "crawl")
    changed = [fact("a", "text 2", metadata={"page": 9}), fact("a", "text new")]
    await container.ingestion().replace("papers", [SourceFacts("a", changed)], ReplaceOptions(run_id=run.id))
    assert [numbers_found(engine, f"metadata.page = {page}") for page in (0, 2, 9)] == [0, 0, 1]
    assert numbers_found(engine, 'fact_text = "text new"') == 1
    await container.runs().end("papers", run.id)
    await container.runs().undo("papers", str(run.id))
    assert [numbers_found(engine, f"metadata.page = {page}") for page in (0, 1, 2, 9)] == [1, 1, 1, 0]
    assert numbers_found(engine, 'fact_text = "text new"') == 0
    with writing(engine) as session:
        alone = "SELECT count(*) FROM data_keys WHERE extraction_id NOT IN (SELECT id FROM extractions)"
        assert session.scalar(text(alone)) == 0


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("type", "write data.type"),
        ("price..amount", "at character 7"),
        ("", r"at character 1|is empty|expected"),
        (".".join("abcdefgh" * 9), "at most 64"),
        ("data", "write data.NAME"),
    ],
)
async def test_a_path_that_is_none_is_refused_and_nothing_changes(
    container: Container, engine: Engine, path: str, reason: str
) -> None:
    await made(container, "n")
    with pytest.raises(InvalidField, match=reason) as caught:
        await indexing(container, "x", path).apply()
    assert caught.value.field == "database.data_indexes"
    assert states(engine) == {"n": "ready"}


async def test_a_fact_that_is_being_stored_while_an_index_is_made_is_found(
    tmp_path: Path, postgres_engine: Engine
) -> None:
    """Its transaction read the list of indexes before the new one, whose creation waits for it."""
    with open_container(tmp_path, engine=postgres_engine) as container:
        with writing(postgres_engine) as session:
            extraction = new_extraction(session, make_project(session), data={"n": 5})
        with WriteSession(postgres_engine) as session:
            session.begin()
            create_facts(session, [extraction])
            arranging = asyncio.create_task(made(container, "n"))
            await asyncio.sleep(0.3)
            assert not arranging.done()
            session.commit()
        await arranging
    assert numbers_found(postgres_engine, "n = 5") == 1
    assert keys(postgres_engine) == 1


async def test_an_answer_says_where_an_index_would_help(
    container: Container, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(engine, 30)
    monkeypatch.setattr("app.services.filter_warnings._LOOKED_AT", 20)
    fields = container.fields()

    async def said(where: str) -> str:
        return " ".join(await fields.warnings("papers", Filters(where=parse_where(where))))

    assert (
        "no index finds n, so each of more than 20 facts is read; name it in database.data_indexes"
        in await said("n > 3")
    )
    assert await said("n exists") == ""
    assert await said("not (n = 3)") == ""
    await made(container, "n")
    assert await said("n > 3") == ""
    assert await said("n > 3 and m = 2") == "none of 20 facts looked at has m"
    assert "no index finds m" in await said("n > 3 or m = 2")
    assert "no index finds n" not in await said("n > 3 or m = 2")
    await indexing(container, "n", "m").apply()
    assert "the index on m is still being filled" in await said("m = 2")
    monkeypatch.setattr("app.services.filter_warnings._LOOKED_AT", 30)
    assert "no index" not in await said("m = 2")
