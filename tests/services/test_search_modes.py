"""Searching by meaning, by words and by both: the hits, the reasons, and a missing side."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dependency_injector import providers
from numpy.typing import NDArray
from sqlalchemy import Engine, update
from support.facts import fact
from support.parts import WORDS, fill, make_item, open_container, settings_for
from support.rows import make_project, writing

from app.domain.filters import Filters
from app.domain.items import Item
from app.domain.jobs import JobType
from app.domain.search import Query, SearchHits, SearchMode
from app.errors import AgentStorageError, EmbeddingUnavailable, InvalidInput, NotFound
from app.executor import Lane
from app.models import Job
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import TextRole
from app.services.search import SearchService
from app.services.storage.qdrant.ports import ClientFailure, VectorClient
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.job import JobRepository
from containers import Container, create_container, running

PROJECT = "papers"


class Faults(DeterministicEmbedder):
    """Embeds, but for texts asked for while it ``fails`` or ``waits``."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane, 32)
        self.fails = False
        self.waits_s = 0.0
        self.only: tuple[str, ...] = ()
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        await asyncio.sleep(self.waits_s)
        if role is TextRole.QUERY:
            self.asked += texts
        if self.fails and (not self.only or set(self.only) & set(texts)):
            raise EmbeddingUnavailable("the endpoint is down")
        return await super().embed(texts, role)


class NoQueries:
    """A client whose queries fail while ``fails`` is set."""

    def __init__(self, real: VectorClient) -> None:
        self._real = real
        self.fails = False

    def query_points(self, *args: Any, **options: Any) -> Any:
        if self.fails:
            raise ClientFailure("it doesn't want to")
        return self._real.query_points(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Stores:
    """A container whose embedder and Qdrant can be made to fail."""

    def __init__(self, container: Container, client: NoQueries) -> None:
        self.container = container
        self.client = client
        self.embedder: Faults = container.embedder()

    async def ask(self, text: str = "river", project: str | None = PROJECT, **query: Any) -> SearchHits:
        return await self.container.search().search(Query(text, project, **query))

    def impatient(self, patience_s: float) -> SearchService:
        parts = self.container
        return SearchService(
            parts.database(), parts.meaning_search(), parts.word_search(), patience_s=patience_s
        )

    async def accept(self, *items: Item, project: str = PROJECT) -> None:
        await self.container.ingestion().accept(project, items)


@pytest.fixture
async def stores(tmp_path: Path, engine: Engine) -> AsyncIterator[Stores]:
    with open_container(tmp_path / "real") as lender:
        client = NoQueries(lender.qdrant_client())
        container = create_container(settings_for(tmp_path), engine=engine, qdrant_client=client)
        container.override_providers(embedder=providers.ThreadSafeSingleton(Faults, container.embedding_lane))
        with running(container):
            await container.indexing().prepare()
            yield Stores(container, client)


def texts(found: SearchHits) -> list[str]:
    return [hit.extraction.data["fact_text"] for hit in found]


def ids(found: SearchHits) -> list[str]:
    return [str(hit.extraction.id) for hit in found]


async def test_what_was_accepted_is_found_at_once_by_its_words(stores: Stores) -> None:
    await stores.accept(fact("a", "the part XR-4471-B is in stock"), fact("b", "something else"))
    for mode in (SearchMode.AUTO, SearchMode.WORDS):
        [hit, *_] = await stores.ask("is XR-4471-B in stock?", mode=mode)
        assert hit.extraction.data["fact_text"] == "the part XR-4471-B is in stock"
        assert hit.meaning is None
        assert hit.words is not None
        assert hit.words.rank == 1
    assert not await stores.ask("XR-4471-B", mode=SearchMode.MEANING)


async def test_each_mode_asks_its_side_alone(stores: Stores) -> None:
    await fill(stores.container, [make_item(n) for n in range(20)])
    for hit in await stores.ask(mode=SearchMode.MEANING):
        assert (hit.words, hit.terms, hit.highlights) == (None, (), {})
        assert hit.meaning is not None
        assert hit.score == pytest.approx(hit.meaning.score, abs=1e-6)
    found = await stores.ask(mode=SearchMode.WORDS)
    assert all("river" in text for text in texts(found))
    for hit in found:
        assert hit.meaning is None
        assert hit.words is not None
        assert hit.score == pytest.approx(hit.words.score, abs=1e-6)
    both = await stores.ask()
    assert both[0].meaning
    assert both[0].words
    assert [hit.score for hit in both] == sorted((hit.score for hit in both), reverse=True)


@pytest.mark.parametrize("failing", ["qdrant", "embedder"])
async def test_without_the_meaning_the_words_answer_and_say_so(stores: Stores, failing: str) -> None:
    await fill(stores.container, [make_item(n) for n in range(20)])
    by_words = await stores.ask(mode=SearchMode.WORDS)
    (stores.client if failing == "qdrant" else stores.embedder).fails = True
    found = await stores.ask()
    assert ids(found) == ids(by_words)
    assert [hit.score for hit in found] == [hit.score for hit in by_words]
    [lack] = found.degraded
    assert lack.startswith("meaning: ")
    assert ("it doesn't want to" if failing == "qdrant" else "the endpoint is down") in lack
    assert (await stores.ask(mode=SearchMode.WORDS)).degraded == ()
    with pytest.raises(AgentStorageError):
        await stores.ask(mode=SearchMode.MEANING)


async def test_a_query_is_embedded_once(stores: Stores) -> None:
    """Also for another page, another filter and another mode; one that failed is tried again."""
    await fill(stores.container, [make_item(n) for n in range(20)])
    stores.embedder.fails = True
    await stores.ask()
    stores.embedder.fails = False
    stores.embedder.asked.clear()
    first = await stores.ask()
    again = await stores.ask(offset=5, mode=SearchMode.MEANING)
    assert stores.embedder.asked.count("river") == 1
    assert not first.degraded
    assert again
    await stores.ask("another river")
    assert stores.embedder.asked.count("another river") == 1


async def test_of_nothing_nothing_is_missing(stores: Stores) -> None:
    """The result of an empty store is complete, even while Qdrant fails; others are degraded."""
    with writing(stores.container.engine()) as session:
        make_project(session, PROJECT)
    stores.client.fails = True
    empty = await stores.ask()
    assert (list(empty), empty.degraded) == ([], ())
    await stores.accept(fact("a", "bread"))
    assert (await stores.ask()).degraded


async def test_scores_are_shown_with_six_decimals(stores: Stores) -> None:
    await fill(stores.container, [make_item(n) for n in range(20)])
    for mode in SearchMode:
        for hit in await stores.ask("the river of number 3", mode=mode):
            shown = [hit.score, *(side.score for side in (hit.meaning, hit.words) if side)]
            assert shown == [round(score, 6) for score in shown]


@pytest.mark.parametrize("status", ["queued", "failed"])
async def test_words_that_are_still_to_be_made_are_told(stores: Stores, status: str) -> None:
    await fill(stores.container, [make_item(n) for n in range(3)])
    assert not (await stores.ask()).degraded
    with writing(stores.container.engine()) as session:
        JobRepository(session).create(JobType.INDEX_WORDS, {}, unique_key=JobType.INDEX_WORDS)
        session.execute(update(Job).where(Job.type == JobType.INDEX_WORDS).values(status=status))
    [lack] = (await stores.ask()).degraded
    assert "index_words" in lack


async def test_an_embedder_that_fails_between_two_calls_leaves_the_words(stores: Stores) -> None:
    """What two unrelated texts score is asked of it once more than the query."""
    await fill(stores.container, [make_item(n) for n in range(20)])
    stores.embedder.fails, stores.embedder.only = True, ("Insulin lowers the level of sugar in the blood.",)
    found = await stores.ask()
    assert found
    assert "the endpoint is down" in found.degraded[0]


async def test_a_side_that_is_late_is_not_waited_for(stores: Stores) -> None:
    await fill(stores.container, [make_item(n) for n in range(20)])
    by_words = await stores.ask(mode=SearchMode.WORDS)
    stores.embedder.waits_s = 30.0
    async with asyncio.timeout(20):
        found = await stores.impatient(0.05).search(Query("river", PROJECT))
    assert ids(found) == ids(by_words)
    assert found.degraded == ("meaning: no answer in 0.05 s from Qdrant or the embedder",)


async def test_where_both_fail_there_is_an_error(stores: Stores) -> None:
    await fill(stores.container, [make_item(n) for n in range(5)])
    stores.embedder.fails = True
    _execute(stores, "ALTER TABLE extraction_words RENAME TO away")
    try:
        with pytest.raises(AgentStorageError):
            await stores.ask()
        stores.embedder.fails = False
        found = await stores.ask()
        assert len(found) == 5
        assert found.degraded[0].startswith("words: ")
    finally:
        _execute(stores, "ALTER TABLE away RENAME TO extraction_words")


def _execute(stores: Stores, statement: str) -> None:
    with writing(stores.container.engine()) as session:
        session.connection().exec_driver_sql(statement)


@pytest.mark.parametrize("mode", SearchMode)
async def test_an_unknown_project_is_named_in_every_mode(stores: Stores, mode: SearchMode) -> None:
    await stores.accept(fact("a", "river"))
    with pytest.raises(NotFound, match="no project 'nowhere'"):
        await stores.ask(project="nowhere", mode=mode)
    stores.client.fails = True
    if mode is not SearchMode.MEANING:
        with pytest.raises(NotFound, match="no project 'nowhere'"):
            await stores.ask(project="nowhere", mode=mode)


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize("limit", [7, 30])
async def test_pages_cover_all_and_overlap_nowhere(stores: Stores, mode: SearchMode, limit: int) -> None:
    await fill(stores.container, [make_item(n) for n in range(200)])
    pages: list[str] = []
    more, offset = True, 0
    while more:
        found = await stores.ask("river mountain glacier", mode=mode, limit=limit, offset=offset)
        pages += ids(found)
        more, offset = found.more, offset + limit
    assert len(set(pages)) == len(pages)
    whole = await stores.ask("river mountain glacier", mode=mode, limit=1_000)
    assert set(pages) == set(ids(whole))
    assert not whole.more


async def test_a_page_beyond_the_end_is_empty(stores: Stores) -> None:
    await fill(stores.container, [make_item(n) for n in range(5)])
    found = await stores.ask(offset=900, limit=100)
    assert (list(found), found.more) == ([], False)


async def test_what_scores_less_is_left_out(stores: Stores) -> None:
    await fill(stores.container, [make_item(n) for n in range(100)])
    for mode in SearchMode:
        everything = await stores.ask("river glacier", mode=mode, limit=100)
        bound = sorted(hit.score for hit in everything)[len(everything) // 2]
        found = await stores.ask("river glacier", mode=mode, limit=100, min_score=bound - 1e-6)
        assert ids(found) == [str(hit.extraction.id) for hit in everything if hit.score >= bound - 1e-6]
        assert 0 < len(found) < len(everything)
        assert not await stores.ask("river glacier", mode=mode, min_score=1.01)


async def test_equal_facts_of_several_sources_become_one(stores: Stores) -> None:
    twins = [fact(f"source:{n}", "the bread costs 35 euro") for n in range(9)]
    await fill(stores.container, [*twins, *(fact(f"other:{n}", f"the bread costs {n} cent") for n in range(9))])
    for mode in SearchMode:
        assert len(await stores.ask("bread 35 euro", mode=mode, limit=100)) == 18
        found = await stores.ask("bread 35 euro", mode=mode, limit=100, collapse=True)
        assert len(found) == 10
        first = found[0]
        assert first.extraction.data["fact_text"] == "the bread costs 35 euro"
        uris = {first.extraction.source_uri, *(twin.source_uri for twin in first.twins)}
        assert uris == {f"source:{n}" for n in range(9)}
        assert len({first.extraction.id, *(twin.id for twin in first.twins)}) == 9
        assert not any(hit.twins for hit in found[1:])


async def test_equal_facts_of_other_projects_and_types_stay_apart(stores: Stores) -> None:
    await stores.accept(fact("a", "bread"), fact("a", "bread", extraction_type="claim"))
    await stores.accept(fact("a", "bread"), project="other")
    found = await stores.ask("bread", project=None, mode=SearchMode.WORDS, collapse=True)
    assert len(found) == 3


async def test_pages_of_collapsed_hits_cover_all(stores: Stores) -> None:
    for n in range(30):
        await stores.accept(*(fact(f"source:{m}", f"bread number {n}") for m in range(4)))
    pages = [
        await stores.ask("bread", mode=SearchMode.WORDS, limit=10, offset=at, collapse=True)
        for at in (0, 10, 20)
    ]
    found = [text for page in pages for text in texts(page)]
    assert sorted(found) == sorted(f"bread number {n}" for n in range(30))
    assert [page.more for page in pages] == [True, True, False]
    assert all(len(hit.twins) == 3 for page in pages for hit in page)


async def test_all_projects_are_searched_without_one(stores: Stores) -> None:
    for project in ("papers", "notes", "empty"):
        await stores.container.projects().create(project)
    await fill(stores.container, [make_item(n) for n in range(10)], project="papers")
    await fill(stores.container, [make_item(n) for n in range(10)], project="notes")
    for mode in SearchMode:
        found = await stores.ask(project=None, mode=mode, limit=100)
        assert {hit.extraction.project for hit in found} == {"papers", "notes"}
        assert len(set(ids(found))) == len(found)


async def test_what_has_no_vector_is_found_by_words(stores: Stores) -> None:
    await fill(stores.container, [fact("a", "bread of today")])
    await stores.accept(fact("b", "bread of yesterday"), fact("c", "bread of tomorrow"))
    waiting = await stores.ask("yesterday", mode=SearchMode.WORDS)
    with writing(stores.container.engine()) as session:
        ExtractionRepository(session).set_aside({waiting[0].extraction.id: "unreadable"})
    for filters, wanted in (
        (Filters(set_aside=True), {"bread of yesterday"}),
        (Filters(indexed=False), {"bread of yesterday", "bread of tomorrow"}),
        (Filters(indexed=True), {"bread of today"}),
        (Filters(set_aside=False, indexed=False), {"bread of tomorrow"}),
    ):
        for mode in (SearchMode.AUTO, SearchMode.WORDS):
            found = await stores.ask("bread", mode=mode, filters=filters)
            assert (set(texts(found)), found.degraded) == (wanted, ())


async def test_highlights_say_where_the_words_stand(stores: Stores) -> None:
    text = "😀 Fresh bread, and breads of yesterday: XR-4471-B"
    await fill(stores.container, [fact("a", text)])
    for mode in (SearchMode.AUTO, SearchMode.WORDS):
        [hit] = await stores.ask("bread xr-4471-b butter", mode=mode)
        spans = hit.highlights["fact_text"]
        assert [text[start:end] for start, end in spans] == ["bread", "breads", "XR-4471-B"]
        assert "butter" not in hit.terms
        assert {"bread", "xr4471b"} <= set(hit.terms)


async def test_what_only_the_meaning_finds_has_its_words_counted_too(stores: Stores) -> None:
    await fill(stores.container, [make_item(n) for n in range(60)])
    found = await stores.ask(f"{WORDS[3]} and {WORDS[4]}", limit=60)
    for hit in found:
        has = {word for word in (WORDS[3], WORDS[4]) if word in hit.extraction.data["fact_text"]}
        assert has <= set(hit.terms)


async def test_a_bad_query_is_refused_whatever_fails(stores: Stores) -> None:
    await fill(stores.container, [make_item(1)])
    stores.embedder.fails = True
    with pytest.raises(InvalidInput):
        await stores.ask(" ")
    with pytest.raises(InvalidInput, match="together they may be at most"):
        await stores.ask(offset=500, limit=501)
