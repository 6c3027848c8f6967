"""Undoing runs of random histories, checked by row and by point, also after later runs."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.facts import fact, replaced
from support.parts import index_all, open_container

from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId, RunId
from app.domain.items import Item
from app.domain.outcomes import Counts
from app.domain.rows import RunRow
from app.domain.sources import ReplaceOptions, ReplaceScope, SourceFacts, SourceFilters
from app.models import Extraction, LedgerEntry, Source
from app.services.storage.qdrant.ports import PointQuery
from app.services.undoing import ids_of
from containers import Container

PROJECT = "papers"
SOURCES = ["a", "b", "c", "d"]
State = dict[str, dict[Any, Any]]


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


def rows(engine: Engine) -> State:
    """The facts and their sources by id, without ``changed_at``, which an undo sets too."""
    with Session(engine) as session:
        return {
            model.__tablename__: {
                row.id: row._asdict()
                for row in session.execute(select(*(c for c in model.__table__.c if c.name != "changed_at")))
            }
            for model in (Source, Extraction)
        }


async def state(container: Container, engine: Engine) -> State:
    """The rows, and by id the points' payloads and their similarities to some probe vectors."""
    await index_all(container)
    client = container.qdrant_client()
    points, end = client.scroll(None, 1_000, None)
    ids = list(points)
    assert end is None
    probes = (
        np.random.default_rng(1)
        .standard_normal((3, container.embedder().identity.dimension))
        .astype(np.float32)
    )
    scores: dict[str, list[float]] = {id_: [] for id_ in ids}
    for probe in probes:
        for point in client.query_points(probe, PointQuery(1_000)):
            scores[point.id].append(round(point.score, 4))
    payloads = client.retrieve(ids, payloads=True)
    return {**rows(engine), "points": {id_: (payloads[id_], scores[id_]) for id_ in ids}}


class History:
    """What a pipeline does, drawn; in a run or in none."""

    def __init__(self, container: Container, seed: int) -> None:
        self._container = container
        self.random = random.Random(seed)  # noqa: S311 - drawn alike each time

    async def go(self, steps: int, run_id: RunId | None = None) -> None:
        possible: list[Callable[[RunId | None], Awaitable[None]]] = [
            self._ingest,
            self._replace,
            self._empty,
            self._replace_project,
        ]
        possible += [self._delete_facts, self._delete_source] if run_id is None else []
        for _ in range(steps):
            await self.random.choice(possible)(run_id)
            if self.random.random() < 0.3:
                await index_all(self._container)

    async def run(self, name: str, steps: int) -> RunRow:
        run = await self._container.runs().begin(PROJECT, name)
        await self.go(steps, run.id)
        return await self._container.runs().end(PROJECT, run.id)

    async def _ingest(self, run_id: RunId | None) -> None:
        items = [item for uri in self._uris() for item in self._items(uri)]
        await self._container.ingestion().accept(PROJECT, items, run_id=run_id)

    async def _replace(self, run_id: RunId | None, scope: ReplaceScope = ReplaceScope.SOURCE) -> None:
        given = [SourceFacts(uri, self._items(uri)) for uri in self._uris()]
        options = ReplaceOptions(scope, run_id=run_id, allow_mass_delete=True)
        await self._container.ingestion().replace(PROJECT, given, options)

    async def _replace_project(self, run_id: RunId | None) -> None:
        await self._replace(run_id, ReplaceScope.PROJECT)

    async def _empty(self, run_id: RunId | None) -> None:
        gone = SourceFacts(self.random.choice(SOURCES), (), gone=True)
        await self._container.ingestion().replace(PROJECT, [gone], ReplaceOptions(run_id=run_id))

    async def _delete_facts(self, _run_id: RunId | None) -> None:
        filters = Filters(source_uris=(self.random.choice(SOURCES),), max_confidence=0.4)
        await self._container.extractions().delete_matching(PROJECT, filters)

    async def _delete_source(self, _run_id: RunId | None) -> None:
        prefixed = SourceFilters(uri_prefix=self.random.choice(SOURCES))
        for row in await self._container.sources().list(PROJECT, prefixed):
            await self._container.sources().delete(PROJECT, row.id)

    def _uris(self) -> list[str]:
        return self.random.sample(SOURCES, self.random.randint(1, 3))

    def _items(self, uri: str) -> list[Item]:
        group = self.random.choice([None, "one", "two"])
        return [
            fact(
                uri,
                f"fact {number}",
                source_group=group,
                confidence=self.random.choice([None, 0.25, 0.5]),
                metadata=self.random.choice([None, {"page": 1}, {"page": 2}]),
            )
            for number in self.random.sample(range(6), self.random.randint(1, 5))
        ]


async def begin(container: Container, seed: int) -> History:
    """In a project and an index that are empty."""
    await container.indexing().prepare()
    await container.projects().create(PROJECT)
    return History(container, seed)


async def undo(container: Container, run: object) -> RunId:
    undone = await container.runs().undo(PROJECT, str(run))
    assert undone.left_alone == []
    return undone.undo_run_id


@pytest.mark.parametrize("seed", range(12))
async def test_an_undone_run_has_never_been(container: Container, engine: Engine, seed: int) -> None:
    """An undone undo leaves no trace either, after any earlier undo."""
    history = await begin(container, seed)
    await history.go(2)
    await history.run("earlier", 2)
    before = await state(container, engine)
    run = await history.run("run", 4)
    after = await state(container, engine)
    undoing = await undo(container, run.id)
    assert await state(container, engine) == before
    undoing = await undo(container, undoing)
    assert await state(container, engine) == after
    await undo(container, undoing)
    assert await state(container, engine) == before


@pytest.mark.parametrize("seed", range(12))
async def test_runs_undone_one_after_the_other_have_never_been(
    container: Container, engine: Engine, seed: int
) -> None:
    history = await begin(container, seed)
    states, runs = [], []
    for number in range(4):
        states.append(await state(container, engine))
        runs.append(await history.run(f"run {number}", 2))
    for run, before in zip(reversed(runs), reversed(states), strict=True):
        await undo(container, run.id)
        assert await state(container, engine) == before


def touched(engine: Engine, run_id: RunId) -> tuple[set[ExtractionId], set[ExtractionId]]:
    """The ids of what a run has changed, and of what was changed or asserted after it."""
    with Session(engine) as session:
        entries = session.scalars(select(LedgerEntry).order_by(LedgerEntry.number)).all()
    own = [entry for entry in entries if entry.run_id == run_id]
    changed = {id_ for entry in own for id_ in ids_of({**entry.changes, "asserted": {}})}
    last = own[-1].number if own else 0
    later = {id_ for entry in entries if entry.number > last for id_ in ids_of(entry.changes)}
    return changed, later


@pytest.mark.parametrize("seed", range(20))
async def test_what_was_touched_later_is_left_alone_and_listed(
    container: Container, engine: Engine, seed: int
) -> None:
    history = await begin(container, seed)
    await history.go(3)
    before = await state(container, engine)
    run = await history.run("run", 3)
    await history.go(1, (await container.runs().begin(PROJECT, "later")).id if seed % 2 else None)
    after = await state(container, engine)
    changed, later = touched(engine, run.id)
    undone = await container.runs().undo(PROJECT, "run")
    now = await state(container, engine)
    left = {each.extraction_id for each in undone.left_alone if each.extraction_id is not None}
    assert left <= changed & later
    for id_ in changed | later:
        was, became, stands = (each["extractions"].get(id_) for each in (before, after, now))
        assert stands == (became if id_ in later else was)
        if stands is not None and id_ in changed & later:
            assert id_ in left
    kept_groups = {each.source_id for each in undone.left_alone if each.extraction_id is None}
    for id_, source in now["sources"].items():
        was = before["sources"].get(id_)
        if was is not None and source["source_group"] != was["source_group"]:
            assert id_ in kept_groups or group_was_changed_later(engine, run, id_)
    assert_index_holds(now)


def group_was_changed_later(engine: Engine, run: RunRow, source_id: object) -> bool:
    with Session(engine) as session:
        entries = session.scalars(select(LedgerEntry).where(LedgerEntry.source_id == source_id)).all()
    own = [entry.number for entry in entries if entry.run_id == run.id]
    return any("group" in entry.changes for entry in entries if not own or entry.number > own[-1])


def assert_index_holds(now: State) -> None:
    """Each fact has its point, with its payload."""
    assert now["points"].keys() == {str(id_) for id_ in now["extractions"]}
    for id_, row in now["extractions"].items():
        payload: Mapping[str, Any] = now["points"][str(id_)][0]
        assert payload.get("confidence") == row["confidence"]
        assert payload.get("source_group") == now["sources"][row["source_id"]]["source_group"]


async def begun(container: Container, name: str) -> RunId:
    return (await container.runs().begin(PROJECT, name)).id


async def test_what_an_undoing_left_alone_still_counts_as_touched(container: Container) -> None:
    """Of the second run, which is undone in part only, something still stands."""
    await replaced(container, "a", "one", "two", confidence=0.1)
    for name, confidence in (("first", 0.2), ("second", 0.3)):
        run_id = await begun(container, name)
        await replaced(container, "a", "one", "two", confidence=confidence, run_id=run_id)
    third = await begun(container, "third")
    await container.ingestion().accept(PROJECT, [fact("a", "one", confidence=0.4)], run_id=third)

    async def confidences() -> dict[str, float | None]:
        found = await container.extractions().list(PROJECT, Filters())
        return {row.data["fact_text"]: row.confidence for row in found}

    assert len((await container.runs().undo(PROJECT, "second")).left_alone) == 1
    assert await confidences() == {"one": 0.4, "two": 0.2}
    await undo(container, "third")
    assert await confidences() == {"one": 0.3, "two": 0.2}
    undone = await container.runs().undo(PROJECT, "first")
    assert len(undone.left_alone) == 1
    assert await confidences() == {"one": 0.3, "two": 0.1}


async def test_a_fact_that_is_brought_back_still_says_when_it_changed(container: Container) -> None:
    await replaced(container, "doc:1", "one", confidence=0.5)
    await replaced(container, "doc:1", "one", confidence=0.9)
    [before] = await container.extractions().list(PROJECT, ANY, limit=10)
    assert before.changed_at is not None
    run = await container.runs().begin(PROJECT, "crawl")
    await replaced(container, "doc:1", run_id=run.id)
    await container.runs().end(PROJECT, run.id)
    await undo(container, run.id)
    [after] = await container.extractions().list(PROJECT, ANY, limit=10)
    assert (after.id, after.changed_at) == (before.id, before.changed_at)


async def test_the_undoing_is_a_run_with_counts_of_its_own(container: Container) -> None:
    await replaced(container, "a", "one", "two", "three", confidence=0.1)
    run_id = await begun(container, "run")
    await replaced(container, "a", "two", "three", "four", confidence=0.2, run_id=run_id)
    undone = await container.runs().undo(PROJECT, "run")
    assert undone.counts == Counts(added=1, changed=2, removed=1)
    row = await container.runs().get(PROJECT, str(undone.undo_run_id))
    assert (row.added, row.changed, row.removed, row.undoes) == (1, 2, 1, run_id)
    assert row.ended_at is not None
    again = await container.runs().undo(PROJECT, str(run_id))
    assert (again.counts, again.job_ids) == (Counts(), [])
    assert (again.undo_run_id, again.already) == (undone.undo_run_id, True)
    assert len(await container.runs().list(PROJECT)) == 2


async def test_of_undos_at_once_the_one_that_changed_something_is_kept(container: Container) -> None:
    run_id = await begun(container, "run")
    await replaced(container, "a", "one", run_id=run_id)
    undoing = [container.runs().undo(PROJECT, str(run_id)) for _ in range(4)]
    undone = await asyncio.gather(*undoing)
    assert sorted((each.counts.removed, each.already) for each in undone) == [(0, True)] * 3 + [(1, False)]
    rows = await container.runs().list(PROJECT)
    assert {row.id for row in rows} == {run_id} | {each.undo_run_id for each in undone}
    assert len(rows) == 2


async def test_a_run_is_undone_again_after_its_undo_was_undone(container: Container) -> None:
    await replaced(container, "a", "one")
    run_id = await begun(container, "run")
    await replaced(container, "a", "two", run_id=run_id)
    first = await undo(container, run_id)
    second = await undo(container, first)
    undone = await container.runs().undo(PROJECT, str(run_id))
    assert (undone.already, undone.counts) == (False, Counts(added=1, removed=1))
    assert undone.undo_run_id not in {first, second}
    again = await container.runs().undo(PROJECT, str(run_id))
    assert (again.already, again.undo_run_id) == (True, undone.undo_run_id)


async def test_a_run_with_nothing_left_to_undo_is_not_called_undone(container: Container) -> None:
    """Its undo was undone, and then all of its facts were touched."""
    await replaced(container, "a", "one", confidence=0.1)
    run_id = await begun(container, "run")
    await replaced(container, "a", "one", confidence=0.2, run_id=run_id)
    await undo(container, await undo(container, run_id))
    await replaced(container, "a", "one", confidence=0.3)
    undone = await container.runs().undo(PROJECT, str(run_id))
    assert (undone.already, undone.counts, len(undone.left_alone)) == (False, Counts(), 1)
