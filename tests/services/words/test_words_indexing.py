"""The word index always matches the stored facts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.orm import Session
from support.facts import fact, replaced
from support.jobs import jobs_of
from support.parts import index_all, make_item, open_container
from support.rows import store_extractions, writing

from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.domain.jobs import JobType
from app.domain.search import Query, SearchMode
from app.models import Extraction, ExtractionWords
from app.services.jobs.running import RunningJob
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.lease import LeaseRepository
from app.services.words.indexing import ENCODER, WORDS_VERSION, WordIndexing, rewrite_words, word_differences
from app.sql import schema
from app.words.languages import stemmed_as
from app.words.texts import text_to_index
from app.words.tokens import terms_of
from containers import Container

PROJECT = "papers"


@pytest.fixture
async def container(tmp_path: Path, engine: Engine) -> AsyncIterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        await container.indexing().prepare()
        yield container


def check(engine: Engine) -> int:
    """Check that exactly the extractions have words, and the right ones; return how many."""
    with Session(engine) as session:
        extractions = {row.id: row for row in session.scalars(select(Extraction))}
        words = {row.extraction_id: row for row in session.scalars(select(ExtractionWords))}
        assert set(words) == set(extractions)
        for id_, row in extractions.items():
            said = text_to_index(row.extraction_type, row.data)
            language = stemmed_as(said)
            wanted = ENCODER.encode(row.project_id, terms_of(said, language), 0)
            assert words[id_].tokens.replace("'", "") == wanted.tokens
            assert (words[id_].counts, words[id_].language) == (wanted.counts, language)
            assert words[id_].made_by == WORDS_VERSION
        if engine.dialect.name == "sqlite":
            table = "extraction_words_index"
            session.execute(text(f"INSERT INTO {table}({table}, rank) VALUES('integrity-check', 1)"))
        return len(words)


async def found(container: Container, query: str, project: str | None = PROJECT) -> set[str]:
    """The texts of what the words find."""
    hits = await container.search().search(Query(query, project, 100, mode=SearchMode.WORDS))
    return {hit.extraction.data.get("fact_text", "") for hit in hits}


async def store(container: Container, count: int, project: str = PROJECT) -> list[ExtractionId]:
    await container.ingestion().accept(project, [make_item(n) for n in range(count)])
    return [row.id for row in await container.extractions().list(project, Filters(), limit=10_000)]


async def test_words_are_stored_with_the_fact(container: Container, engine: Engine) -> None:
    await container.ingestion().accept(PROJECT, [fact("a", "the bread costs 35 euro"), fact("b", "XR-4471-B")])
    assert check(engine) == 2
    assert await found(container, "xr-4471-b") == {"XR-4471-B"}


async def test_handing_in_again_changes_no_words(container: Container, engine: Engine) -> None:
    for _ in range(2):
        await container.ingestion().accept(PROJECT, [fact("a", "bread"), fact("a", "bread"), fact("b", "salt")])
        assert check(engine) == 2


async def test_a_replace_takes_words_away_and_brings_others(container: Container, engine: Engine) -> None:
    await replaced(container, "a", "bread costs 35", "salt")
    await replaced(container, "a", "bread costs 36", "salt", confidence=0.5)
    assert check(engine) == 2
    assert await found(container, "35") == set()
    assert await found(container, "36 salt") == {"bread costs 36", "salt"}
    await replaced(container, "a")
    assert check(engine) == 0


async def test_undoing_a_run_gives_the_words_back(container: Container, engine: Engine) -> None:
    await replaced(container, "a", "bread", "salt")
    run = await container.runs().begin(PROJECT, "tuesday")
    await replaced(container, "a", "butter", run_id=run.id)
    assert await found(container, "bread salt butter") == {"butter"}
    await container.runs().undo(PROJECT, str(run.id))
    assert check(engine) == 2
    assert await found(container, "bread salt butter") == {"bread", "salt"}


async def test_deleting_takes_the_words_along(container: Container, engine: Engine) -> None:
    ids = await store(container, 20)
    await container.ingestion().accept("other", [make_item(n) for n in range(3)])
    await container.extractions().delete_batch(PROJECT, ids[:5])
    assert check(engine) == 18
    await container.projects().delete(PROJECT)
    await index_all(container)
    assert check(engine) == 3


async def test_text_of_every_kind_has_its_words(container: Container, engine: Engine) -> None:
    texts = [
        "東京都に住んでいます",
        "สวัสดีครับ",
        "Donaudampfschifffahrt",
        "😀",
        "cafe\u0301",
        "'quoted' \\ & | !",
        "x" * 3_000,
    ]
    items = [fact("a", each) for each in texts]
    await container.ingestion().accept(PROJECT, items)
    assert check(engine) == len(texts)


async def test_a_word_at_the_end_of_a_long_text_is_found(container: Container) -> None:
    long = "the river flows by and by " * 4_000 + "zymurgy"
    await container.ingestion().accept(PROJECT, [fact("a", long), fact("b", "short")])
    assert await found(container, "zymurgy") == {long}


async def test_words_are_made_again_of_what_is_there(container: Container, engine: Engine) -> None:
    ids = await store(container, 10)
    with writing(engine) as session:
        session.execute(delete(ExtractionWords).where(ExtractionWords.extraction_id.in_(ids[:3])))
        session.execute(
            update(ExtractionWords).where(ExtractionWords.extraction_id == ids[3]).values(made_by=1)
        )
        gone = ids[9]
        session.execute(delete(Extraction).where(Extraction.id == gone))
        differences = word_differences(session, ids[:9])
        assert (set(differences.missing), differences.stale) == (set(ids[:3]), [ids[3]])
        rewrite_words(session, [*ids[:4], gone])
    assert check(engine) == 9


def claimed(container: Container, engine: Engine) -> RunningJob:
    """A queued ``index_words`` as a worker's, on this event loop."""
    with writing(engine) as session:
        JobRepository(session).create(JobType.INDEX_WORDS, {})
        [claim] = LeaseRepository(session).claim([JobType.INDEX_WORDS], limit=1, lease_s=60)
    return RunningJob(claim, container.database(), 60)


class _Ended(Exception):  # noqa: N818 - the process ended here
    """Stands for the end of the process."""


class _EndsAt:
    """A job whose process ends at its ``last`` write."""

    def __init__(self, job: RunningJob, last: int) -> None:
        self._job, self._left = job, last

    async def save(self, work: Any, **options: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _Ended
        return await self._job.save(work, **options)

    async def report(self, *, done: int, total: int) -> None:
        await self._job.report(done=done, total=total)


async def test_the_job_goes_on_where_it_was_cut_short(container: Container, engine: Engine) -> None:
    """Pages have 1,000 rows: the first is written, and the second attempt makes only the others."""
    with writing(engine) as session:
        store_extractions(session, 2_300)
    job = claimed(container, engine)
    indexing = WordIndexing(container.database())
    with pytest.raises(_Ended):
        await indexing.index_words(_EndsAt(job, 1))  # type: ignore[arg-type]  # only what the job needs
    with Session(engine) as session:
        assert len(session.scalars(select(ExtractionWords.number)).all()) == 1_000
    done = await indexing.index_words(job)
    assert done.result == {"made": 1_300}
    assert check(engine) == 2_300
    assert (await indexing.index_words(job)).result == {"made": 0}


def migrate(engine: Engine, revision: str) -> None:
    config = schema.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if revision == schema.HEAD else command.downgrade)(config, revision)


async def test_what_was_stored_before_there_were_words_gets_them(container: Container, engine: Engine) -> None:
    await store(container, 30)
    await index_all(container)
    migrate(engine, "0006")
    migrate(engine, schema.HEAD)
    [queued] = [job for job in jobs_of(engine) if job.type == JobType.INDEX_WORDS]
    assert queued.status == "queued"
    before = await container.search().search(Query("river", PROJECT, mode=SearchMode.WORDS))
    assert not before
    assert "index_words" in before.degraded[0]
    await index_all(container)
    assert check(engine) == 30
    after = await container.search().search(Query("river", PROJECT, mode=SearchMode.WORDS))
    assert after
    assert after.degraded == ()
    [done] = [job for job in jobs_of(engine) if job.type == JobType.INDEX_WORDS]
    assert (done.status, done.result, done.done, done.total) == ("completed", {"made": 30}, 30, 30)


def test_an_empty_store_has_no_words_to_make(engine: Engine) -> None:
    migrate(engine, "0006")
    migrate(engine, schema.HEAD)
    assert jobs_of(engine) == []


async def test_words_beyond_what_a_fact_can_have_are_told_in_the_log(
    container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.services.words.encoding.MAX_TERMS", 5)
    monkeypatch.setattr("app.services.words.indexing.MAX_TERMS", 5)
    await replaced(container, "doc", "one two three four five six seven")
    assert "its 2 last distinct words can't be searched for, beyond the first 5" in caplog.text
