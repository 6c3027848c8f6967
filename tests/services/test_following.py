"""Stores that follow their sources: replaces, their undoing, and the feed, with drawn histories and faults."""

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session
from support.backends import CONNECTIONS
from support.faults import compared
from support.parts import index_all, open_container

from app.domain.changes import ChangeKind, FeedPlace
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, RunId
from app.domain.items import Item, parse_item
from app.domain.sources import ReplaceOptions, ReplaceScope, SourceFacts, SourceFilters
from app.errors import MassDeleteRefused, StaleReplace
from app.models import Extraction, Job, LedgerEntry, Project, Source
from containers import Container

PROJECT = "papers"
ALLOWED = ReplaceOptions(allow_mass_delete=True)
Rows = dict[str, list[str]]


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


def item(source: str, text: str, **changes: Any) -> Item:
    raw = {"source_uri": source, "extraction_type": "fact", "data": {"fact_text": text}} | changes
    return parse_item(raw, ("fact_text",))


def facts(source: str, *texts: str, **changes: Any) -> SourceFacts:
    return SourceFacts(source, [item(source, text, **changes) for text in texts])


def rows(engine: Engine) -> Rows:
    """All of the facts and their sources, column by column."""
    with Session(engine) as session:
        return {
            table.__tablename__: sorted(repr(row) for row in session.execute(select(*table.__table__.c)).all())
            for table in (Source, Extraction)
        }


async def settle(container: Container) -> None:
    """All jobs have run, and the stores agree."""
    await container.indexing().prepare()
    await index_all(container)
    found = await compared(container)
    assert (found.remaining, found.extractions) == (0, found.points), found


class History:
    """What a pipeline may do, drawn."""

    def __init__(self, container: Container, seed: int) -> None:
        self._container = container
        self._random = random.Random(seed)  # noqa: S311 - drawn alike each time

    def _drawn(self, source: str) -> list[Item]:
        group = self._random.choice([None, "one", "two"])
        return [
            item(
                source,
                f"fact {number}",
                source_group=group,
                confidence=self._random.choice([None, 0.25, 0.5]),
                metadata=self._random.choice([None, {"page": 1}, {"page": 2}]),
            )
            for number in self._random.sample(range(6), self._random.randint(1, 5))
        ]

    async def step(self, run_id: RunId | None, sources: Sequence[str]) -> None:
        """One call that hands something in or deletes something."""
        source = self._random.choice(sources)
        options = ReplaceOptions(run_id=run_id, allow_mass_delete=True)
        match self._random.randrange(5):
            case 0:
                items = [each for name in sources for each in self._drawn(name)]
                await self._container.ingestion().accept(PROJECT, items, run_id=run_id)
            case 1 | 2:
                given = [SourceFacts(name, self._drawn(name)) for name in sources]
                await self._container.ingestion().replace(PROJECT, given, options)
            case 3:
                await self._container.ingestion().replace(
                    PROJECT, [SourceFacts(source, (), gone=True)], options
                )
            case _ if run_id is None:
                filters = Filters(source_uris=(source,), max_confidence=0.4)
                await self._container.extractions().delete_matching(PROJECT, filters)
            case _:
                await self._container.ingestion().replace(
                    PROJECT, [SourceFacts(source, self._drawn(source))], options
                )


async def begin(container: Container, name: str) -> RunId:
    return (await container.runs().begin(PROJECT, name)).id


@pytest.mark.parametrize("seed", range(12))
async def test_an_undone_run_leaves_everything_as_it_was(
    container: Container, engine: Engine, seed: int
) -> None:
    await container.projects().create(PROJECT)
    history = History(container, seed)
    sources = ["a", "b", "c"]
    await history.step(None, sources)
    first = await begin(container, "first")
    for _ in range(3):
        await history.step(first, sources)
    await settle(container)
    before = rows(engine)
    run = await begin(container, "run")
    for _ in range(4):
        await history.step(run, ["b", "c", "d"])
    await settle(container)
    undone = await container.runs().undo(PROJECT, "run")
    assert undone.left_alone == []
    await settle(container)
    assert rows(engine) == before
    await container.runs().undo(PROJECT, str(undone.undo_run_id))
    await settle(container)


@pytest.mark.parametrize("seed", range(8))
async def test_an_undoing_leaves_what_was_touched_later(
    container: Container, engine: Engine, seed: int
) -> None:
    """What a later run handed in stays; of the other sources everything is as it was."""
    await container.projects().create(PROJECT)
    history = History(container, seed)
    await history.step(None, ["a", "b"])
    await settle(container)
    with Session(engine) as session:
        of_b = select(Extraction.__table__).join(Source).where(Source.uri == "b").order_by(Extraction.id)
        before = list(session.execute(of_b).all())
    run = await begin(container, "run")
    for _ in range(3):
        await history.step(run, ["a", "b"])
    later = [item("a", f"fact {number}", confidence=0.75) for number in range(3)]
    await container.ingestion().replace(PROJECT, [SourceFacts("a", later)], ALLOWED)
    await settle(container)
    await container.runs().undo(PROJECT, "run")
    await settle(container)
    found = await container.extractions().list(PROJECT, Filters(source_uris=("a",), min_confidence=0.75))
    assert {row.data["fact_text"] for row in found} == {f"fact {number}" for number in range(3)}
    with Session(engine) as session:
        assert list(session.execute(of_b).all()) == before


class Killed(Exception):  # noqa: N818 - what it stands for is no error
    """The process is dead."""


async def test_a_kill_at_any_statement_leaves_old_or_new(container: Container, engine: Engine) -> None:
    old = [facts("a", "one", "two", confidence=0.5), facts("b", "three")]
    new = [facts("a", "two", "four", confidence=0.75, source_group="g"), SourceFacts("b", (), gone=True)]
    left = {"statements": -1}

    def maybe_die(*_: object) -> None:
        if left["statements"] == 0:
            raise Killed
        left["statements"] -= 1

    event.listen(engine, "before_execute", maybe_die)
    try:
        await container.ingestion().replace(PROJECT, old, ALLOWED)
        before, statement, kills = everything(engine), 0, 0
        while True:
            left["statements"] = statement
            try:
                await container.ingestion().replace(PROJECT, new, ALLOWED)
            except Killed:
                left["statements"] = -1
                assert everything(engine) == before
                statement, kills = statement + 1, kills + 1
            else:
                break
    finally:
        event.remove(engine, "before_execute", maybe_die)
    assert kills > 10
    await settle(container)
    found = await container.extractions().list(PROJECT, Filters())
    assert {(row.data["fact_text"], row.confidence, row.source_group) for row in found} == {
        ("two", 0.75, "g"),
        ("four", 0.75, "g"),
    }


def everything(engine: Engine) -> Rows:
    with Session(engine) as session:
        return {
            table.__tablename__: sorted(repr(row) for row in session.execute(select(*table.__table__.c)).all())
            for table in (Project, Source, Extraction, Job, LedgerEntry)
        }


async def test_an_unchanged_replace_writes_no_entry_and_no_job(container: Container, engine: Engine) -> None:
    given = [facts("a", "one", "two", metadata={"page": 1.0})]
    await container.ingestion().replace(PROJECT, given)
    await settle(container)
    before = everything(engine)
    replaced = await container.ingestion().replace(PROJECT, given)
    assert (replaced.counts.unchanged, replaced.job_ids) == (2, [])
    after = everything(engine)
    assert {name: after[name] for name in after if name != "sources"} == {
        name: before[name] for name in before if name != "sources"
    }


async def test_only_what_changes_in_the_index_gets_a_job(container: Container, engine: Engine) -> None:
    await container.ingestion().replace(PROJECT, [facts("a", "one", "two", confidence=0.5)])
    await settle(container)
    for changes, types in (
        ({"confidence": 0.5, "metadata": {"page": 1}}, set()),
        ({"confidence": 0.25, "metadata": {"page": 1}}, {"update_payload"}),
        ({"confidence": 0.25, "source_group": "g"}, {"update_payload"}),
        ({"confidence": 0.25, "source_group": "g", "extraction_type": "other"}, {"embed", "delete_vectors"}),
    ):
        replaced = await container.ingestion().replace(PROJECT, [facts("a", "one", "two", **changes)], ALLOWED)
        with Session(engine) as session:
            jobs = session.scalars(select(Job.type).where(Job.id.in_(replaced.job_ids)))
            assert set(jobs) == types
        await settle(container)


@pytest.mark.parametrize(
    ("facts_before", "kept", "refused"), [(40, 20, False), (41, 20, True), (42, 21, False)]
)
async def test_most_facts_go_only_if_that_is_meant(
    container: Container, facts_before: int, kept: int, refused: bool
) -> None:
    texts = [f"fact {number}" for number in range(facts_before)]
    await container.ingestion().replace(PROJECT, [facts("a", *texts)])
    fewer = [facts("a", *texts[:kept])]
    if not refused:
        await container.ingestion().replace(PROJECT, fewer)
        return
    with pytest.raises(MassDeleteRefused, match=f"21 of the {facts_before} facts of source 'a'"):
        await container.ingestion().replace(PROJECT, fewer)
    await container.ingestion().replace(PROJECT, fewer, ALLOWED)


async def test_many_small_removals_are_most_of_the_project_too(container: Container) -> None:
    sources = [facts(f"s{number}", "one", "two") for number in range(30)]
    await container.ingestion().replace(PROJECT, sources)
    stream = container.ingestion().replacing(PROJECT, ReplaceOptions())
    for number in range(15):
        await stream.take([facts(f"s{number}", "three")])
    with pytest.raises(MassDeleteRefused, match="32 of the 60 facts of project 'papers'"):
        await stream.take([facts("s15", "three")])
    with pytest.raises(MassDeleteRefused, match="44 of the 45 facts of project 'papers'"):
        await container.ingestion().replace(
            PROJECT, [facts("s0", "three")], ReplaceOptions(ReplaceScope.PROJECT)
        )
    assert len(await container.extractions().list(PROJECT, Filters(), limit=1_000)) == 45


async def test_a_late_crawl_empties_nothing(container: Container) -> None:
    await container.ingestion().replace(PROJECT, [facts("a", "one")])
    await container.ingestion().replace(PROJECT, [facts("b", "two")])
    rows = await container.sources().list(PROJECT, SourceFilters())
    old = min(row.observed_at for row in rows if row.observed_at)
    late = ReplaceOptions(ReplaceScope.PROJECT, observed_at=old)
    with pytest.raises(StaleReplace):
        await container.ingestion().replace(PROJECT, [facts("a", "one")], late)


@pytest.mark.needs(CONNECTIONS)
async def test_two_replaces_of_a_source_follow_each_other(container: Container) -> None:
    first = [facts("a", *(f"first {number}" for number in range(50)))]
    second = [facts("a", *(f"second {number}" for number in range(50)))]
    for _ in range(10):
        await asyncio.gather(
            *(
                container.ingestion().replace(PROJECT, given, ALLOWED)
                for given in (first, second, first, second)
            )
        )
        found = await container.extractions().list(PROJECT, Filters(), limit=1_000)
        assert len(found) == 50
        assert len({row.data["fact_text"].split()[0] for row in found}) == 1


class Follower:
    """A consumer's copy of a project: what a fact is, by its id."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._place: FeedPlace | None = None
        self._groups: dict[Any, str | None] = {}
        self.copy: dict[ExtractionId, Any] = {}
        self.numbers: list[int] = []

    async def follow(self) -> bool:
        """Take the next page; whether there was anything."""
        page = await self._container.changes().feed(PROJECT, after=self._place, limit=7)
        for change in page.changes:
            self.numbers.append(change.number)
            match change.kind:
                case ChangeKind.REMOVED:
                    assert change.extraction_id is not None
                    self.copy.pop(change.extraction_id, None)
                case ChangeKind.ADDED | ChangeKind.CHANGED if change.extraction is not None:
                    row = change.extraction
                    self.copy[row.id] = (row.source_id, row.confidence, row.metadata, row.data)
        self._place = page.place
        return bool(page.changes)


@pytest.mark.needs(CONNECTIONS)
async def test_a_follower_of_the_feed_misses_nothing(
    container: Container, tmp_path: Path, engine: Engine
) -> None:
    """Four writers, each with its own connections, write and undo in one project while it follows."""
    await container.ingestion().accept(PROJECT, [item("a", "begin")])
    stop = threading.Event()

    def write(seed: int) -> None:
        async def writing() -> None:
            drawn = random.Random(seed)  # noqa: S311 - drawn alike each time
            with open_container(tmp_path / f"w{seed}", engine=engine) as own:
                history = History(own, seed)
                for number in range(25):
                    run = await begin(own, f"run {seed} {number}")
                    await history.step(run, [f"s{drawn.randrange(6)}", f"t{seed}"])
                    if drawn.random() < 0.3:
                        await own.runs().undo(PROJECT, str(run))

        asyncio.run(writing())

    follower = Follower(container)
    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await follower.follow()
        await asyncio.sleep(0.001)
    stop.set()
    while await follower.follow():
        pass
    stored = await container.extractions().list(PROJECT, Filters(), limit=1_000)
    assert follower.copy == {row.id: (row.source_id, row.confidence, row.metadata, row.data) for row in stored}
    assert follower.numbers == sorted(follower.numbers)
    with Session(engine) as session:
        numbers = list(session.scalars(select(LedgerEntry.number).order_by(LedgerEntry.number)))
        assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 100


async def test_an_undoing_that_was_taken_back_has_touched_nothing(container: Container, engine: Engine) -> None:
    await container.projects().create(PROJECT)
    first, second = await begin(container, "first"), await begin(container, "second")
    nothing = rows(engine)
    await container.ingestion().replace(PROJECT, [facts("a", "one", "two")], ReplaceOptions(run_id=first))
    before = rows(engine)
    await container.ingestion().replace(PROJECT, [facts("a", "two", "three")], ReplaceOptions(run_id=second))
    after = rows(engine)
    undone = await container.runs().undo(PROJECT, "second")
    assert rows(engine) == before
    redone = await container.runs().undo(PROJECT, str(undone.undo_run_id))
    assert rows(engine) == after
    assert redone.left_alone == []
    assert (await container.runs().undo(PROJECT, "second")).counts == undone.counts
    assert rows(engine) == before
    assert (await container.runs().undo(PROJECT, "first")).left_alone == []
    assert rows(engine) == nothing


async def test_pages_of_large_removed_facts_end_early(container: Container) -> None:
    large = [item("a", "x" * 900_000 + f"{number}") for number in range(12)]
    await container.ingestion().replace(PROJECT, [SourceFacts("a", large)])
    await container.ingestion().replace(PROJECT, [SourceFacts("a", (), gone=True)])
    place, removed, pages = None, 0, 0
    while True:
        page = await container.changes().feed(PROJECT, after=place, limit=1_000)
        removed += sum(change.kind == ChangeKind.REMOVED for change in page.changes)
        place, pages = page.place, pages + 1
        if page.is_last:
            break
    assert (removed, pages > 1) == (12, True)
    [source] = await container.sources().list(PROJECT, SourceFilters())
    history = await container.changes().of_source(PROJECT, source.id, limit=1_000)
    assert history.before is not None
    rest = await container.changes().of_source(PROJECT, source.id, before=history.before, limit=1_000)
    assert len(history.changes) + len(rest.changes) == 24
