"""Histories of facts and sources, and the pages of the feed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, update
from support.facts import fact, replaced
from support.parts import open_container
from support.rows import writing

from app.domain.changes import Change, ChangeKind, FeedPlace
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, SourceId, project_id_of, source_id_of
from app.domain.items import extraction_id_of
from app.domain.sources import SourceFacts
from app.errors import HistoryPruned, InvalidField, NotFound
from app.models import LedgerEntry, Project
from app.services.storage.repositories.ledger import LedgerRepository
from containers import Container

PROJECT = "papers"
ADDED, CHANGED, REMOVED = ChangeKind.ADDED, ChangeKind.CHANGED, ChangeKind.REMOVED
REGROUPED, SOURCE_DELETED = ChangeKind.REGROUPED, ChangeKind.SOURCE_DELETED


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


def id_of(text: str, uri: str = "a") -> ExtractionId:
    return extraction_id_of(project_id_of(PROJECT), fact(uri, text))


def source_of(uri: str = "a") -> SourceId:
    return source_id_of(project_id_of(PROJECT), uri)


async def live(container: Container) -> None:
    """A source that comes, changes, goes, comes back and is deleted, beside another one."""
    await replaced(container, "a", "one", "two", confidence=0.1)
    await replaced(container, "b", "other")
    await replaced(container, "a", "one", confidence=0.2)
    await replaced(container, "a", "one", confidence=0.2, group="g")
    await replaced(container, "a")
    await replaced(container, "a", "one", group="g")
    await container.sources().delete(PROJECT, source_of())


def kinds(changes: list[Change]) -> list[ChangeKind]:
    return [change.kind for change in changes]


async def test_the_history_of_a_fact_goes_back_to_its_beginning(container: Container) -> None:
    await live(container)
    history = await container.changes().of_extraction(id_of("one"))
    assert kinds(history.changes) == [REMOVED, ADDED, REMOVED, CHANGED, ADDED]
    assert (history.before, history.is_whole) == (None, True)
    removed = history.changes[2].before
    assert removed is not None
    assert (removed["data"], removed["confidence"]) == ({"fact_text": "one"}, 0.2)
    assert history.changes[3].before == {"confidence": 0.1, "metadata": None}
    assert all(change.extraction is None for change in history.changes), "it is gone"
    assert kinds((await container.changes().of_extraction(id_of("two"))).changes) == [REMOVED, ADDED]


async def test_the_history_of_a_source_has_all_its_facts(container: Container) -> None:
    await live(container)
    history = await container.changes().of_source(PROJECT, source_of())
    expected = [SOURCE_DELETED, REMOVED, ADDED, REMOVED, REGROUPED, CHANGED, REMOVED, ADDED, ADDED]
    assert kinds(history.changes) == expected
    assert history.is_whole
    [regrouped] = [change for change in history.changes if change.kind == REGROUPED]
    assert (regrouped.before, regrouped.after) == ({"group": None}, {"group": "g"})
    numbers = [change.number for change in history.changes]
    assert numbers == sorted(numbers, reverse=True)
    assert {change.source_id for change in history.changes} == {source_of()}


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_of_a_history_are_the_history(container: Container, limit: int) -> None:
    await live(container)
    changes = container.changes()
    of_source, of_fact = (
        partial(changes.of_source, PROJECT, source_of()),
        partial(changes.of_extraction, id_of("one")),
    )
    for read in (of_source, of_fact):
        whole, page = await read(), await read(limit=limit)
        told = page.changes
        while page.before is not None:
            assert len(page.changes) >= limit
            assert not page.is_whole
            page = await read(before=page.before, limit=limit)
            told += page.changes
        assert told == whole.changes
        assert page.is_whole


async def test_a_history_that_was_pruned_isnt_whole(container: Container, engine: Engine) -> None:
    await live(container)
    prune(engine, through=3)
    for history in (
        await container.changes().of_source(PROJECT, source_of()),
        await container.changes().of_extraction(id_of("one")),
    ):
        assert history.changes
        assert not history.is_whole
    with pytest.raises(NotFound):
        await container.changes().of_extraction(id_of("two"))


async def test_what_never_was_has_no_history(container: Container) -> None:
    await live(container)
    with pytest.raises(NotFound):
        await container.changes().of_extraction(id_of("never"))
    with pytest.raises(NotFound):
        await container.changes().of_source(PROJECT, source_of("never"))
    await container.projects().create("another")
    with pytest.raises(NotFound):
        await container.changes().of_source("another", source_of())


async def test_a_run_knows_what_it_changed_and_what_became_of_that(container: Container) -> None:
    run = await container.runs().begin(PROJECT, "run")
    await replaced(container, "a", "one", "two", run_id=run.id)
    await replaced(container, "b", "other")
    await replaced(container, "a", "two", "three", run_id=run.id)
    history = await container.changes().of_run(PROJECT, run.id)
    assert kinds(history.changes) == [ADDED, REMOVED, ADDED, ADDED]
    assert history.is_whole
    stored = {change.extraction_id for change in history.changes if change.extraction is not None}
    assert stored == {id_of("two"), id_of("three")}
    assert {change.run_id for change in history.changes} == {run.id}


async def feed(container: Container, limit: int, after: FeedPlace | None = None) -> list[Change]:
    found: list[Change] = []
    while True:
        page = await container.changes().feed(PROJECT, after=after, limit=limit)
        assert len(page.changes) <= limit
        found += page.changes
        assert len(found) < 1_000, "the same changes come again"
        after = page.place
        if page.is_last:
            return found
        assert page.changes


async def test_small_pages_of_the_feed_are_the_large_one(container: Container) -> None:
    await live(container)
    whole = await feed(container, 1_000)
    expected = [ADDED, ADDED, ADDED, REMOVED, CHANGED, REGROUPED, REMOVED, ADDED, REMOVED, SOURCE_DELETED]
    assert kinds(whole) == expected
    for limit in (1, 2, 3):
        assert await feed(container, limit) == whole


async def test_the_feed_goes_on_where_it_was_left(container: Container) -> None:
    await replaced(container, "a", "one", "two", "three")
    page = await container.changes().feed(PROJECT, limit=2)
    assert (len(page.changes), page.is_last) == (2, False)
    await replaced(container, "a", "one", "two", "four")
    rest = await feed(container, 1_000, page.place)
    assert kinds(rest) == [ADDED, REMOVED, ADDED]
    end = await container.changes().feed(PROJECT, after=page.place, limit=1_000)
    following = await container.changes().feed(PROJECT, after=end.place)
    assert (following.changes, following.is_last, following.place) == ([], True, end.place)
    await replaced(container, "a", "one", "two", "five")
    assert kinds(await feed(container, 1_000, end.place)) == [REMOVED, ADDED]


async def test_facts_come_as_they_are_now(container: Container) -> None:
    await replaced(container, "a", "one", "two", confidence=0.1)
    await replaced(container, "a", "one", confidence=0.2, group="g")
    first, second = [change for change in await feed(container, 10) if change.kind == ADDED]
    by_id = {change.extraction_id: change.extraction for change in (first, second)}
    assert by_id[id_of("two")] is None
    now = by_id[id_of("one")]
    assert now is not None
    assert (now.confidence, now.source_group) == (0.2, "g")


async def test_a_page_of_large_facts_ends_early(container: Container) -> None:
    large = [fact("a", f"{number} " + "x" * 100_000) for number in range(250)]
    await container.ingestion().replace(PROJECT, [SourceFacts("a", large)])
    page = await container.changes().feed(PROJECT, limit=1_000)
    assert 0 < len(page.changes) < len(large)
    assert not page.is_last
    told = [*page.changes, *await feed(container, 1_000, page.place)]
    assert [change.extraction_id for change in told] == [
        change.extraction_id for change in await feed(container, 7)
    ]
    stored = await container.extractions().list(PROJECT, Filters(), limit=1_000)
    assert {change.extraction_id for change in told} == {row.id for row in stored}


async def test_pages_of_large_removed_facts_end_early(container: Container) -> None:
    large = [fact("a", f"{number} " + "x" * 900_000) for number in range(12)]
    await container.ingestion().replace(PROJECT, [SourceFacts("a", large)])
    await container.ingestion().replace(PROJECT, [SourceFacts("a", (), gone=True)])
    first = await container.changes().feed(PROJECT, limit=1_000)
    assert not first.is_last
    told = [*first.changes, *await feed(container, 1_000, first.place)]
    assert kinds(told) == [ADDED] * 12 + [REMOVED] * 12
    history = await container.changes().of_source(PROJECT, source_of(), limit=1_000)
    assert history.before is not None
    older = await container.changes().of_source(PROJECT, source_of(), before=history.before, limit=1_000)
    assert [*history.changes, *older.changes] == told[::-1]


async def test_a_place_behind_what_was_pruned_is_refused(container: Container, engine: Engine) -> None:
    await replaced(container, "a", "one", "two", "three")
    inside = (await container.changes().feed(PROJECT, limit=2)).place
    end = (await container.changes().feed(PROJECT)).place
    prune(engine, through=1)
    with pytest.raises(HistoryPruned):
        await container.changes().feed(PROJECT, after=inside)
    assert (await container.changes().feed(PROJECT, after=end)).is_last, "it had read all that was pruned"
    page = await container.changes().feed(PROJECT)
    assert (page.changes, page.is_whole, page.is_last) == ([], False, True)
    await replaced(container, "a", "one", "two", "four")
    assert kinds(await feed(container, 10, end)) == [REMOVED, ADDED]


async def test_a_place_beyond_a_restored_store_is_refused(container: Container, engine: Engine) -> None:
    await replaced(container, "a", "one")
    await replaced(container, "a", "two")
    later = (await container.changes().feed(PROJECT)).place
    with writing(engine) as session:  # what a backup of before the second holds
        session.execute(delete(LedgerEntry).where(LedgerEntry.number == 2))
        session.execute(update(Project).values(last_change=1))
    with pytest.raises(InvalidField, match="restored"):
        await container.changes().feed(PROJECT, after=later)


async def test_a_place_in_a_project_that_was_deleted_is_refused(container: Container) -> None:
    await replaced(container, "a", "one")
    place = (await container.changes().feed(PROJECT)).place
    await container.projects().delete(PROJECT)
    await replaced(container, "a", "one")
    with pytest.raises(InvalidField, match="another project"):
        await container.changes().feed(PROJECT, after=place)


def prune(engine: Engine, through: int) -> None:
    """As if that much of the ledger had been too old."""
    with writing(engine) as session:
        table = LedgerEntry.__table__
        old = update(table).where(table.c.number <= through).values(at=datetime(2020, 1, 1, tzinfo=UTC))
        session.execute(old)
        LedgerRepository(session).prune(project_id_of(PROJECT), older_than_s=3_600.0)
