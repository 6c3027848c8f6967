"""Kills during a replace or an undo: each source is in the old or the new state, with its jobs."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session
from support.facts import fact
from support.faults import assert_goes_on, compared
from support.parts import index_all, open_container
from support.processes import store_process
from support.replacing_process import PARTS, PROJECT, facts_of, replace_all
from support.waiting import until

from app.domain.filters import Filters
from app.domain.outcomes import Counts
from app.domain.sources import ReplaceOptions, ReplaceScope, SourceFacts
from app.models import Base, Extraction, LedgerEntry, Run, Source
from containers import Container

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TEST_KILLS", "10"))
"""A thorough run takes 200."""

COUNTS = (Counts(added=22, changed=18, removed=12), Counts(added=12, changed=18, removed=22))
"""What replacing all changes, in even and in odd generations."""


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


class Killed(BaseException):
    """The process ended here, and nothing handles it."""


@contextmanager
def killed_at(engine: Engine, statement: int) -> Iterator[None]:
    """Kill the sender of that statement, counted from 0, before it is executed."""
    left = statement

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise Killed

    event.listen(engine, "before_execute", count)
    try:
        yield
    finally:
        event.remove(engine, "before_execute", count)


async def kills(engine: Engine, work: Callable[[], Awaitable[object]], check: Callable[[], None]) -> int:
    """Kill the work at each of its statements, check the state each time, and finally finish it."""
    statement = 0
    while True:
        try:
            with killed_at(engine, statement):
                await work()
        except Killed:
            check()
        else:
            return statement
        statement += 1


def rows(engine: Engine, *tables: type[Base]) -> dict[str, list[str]]:
    """All rows of these tables, whole, or of all that a replace writes to."""
    chosen = [each.__table__ for each in tables] or Base.metadata.sorted_tables
    with Session(engine) as session:
        return {
            table.name: sorted(repr(row) for row in session.execute(select(*table.c)).all()) for table in chosen
        }


async def settle(container: Container) -> None:
    await container.indexing().prepare()
    await index_all(container)
    found = await compared(container)
    assert (found.remaining, found.extractions) == (0, found.points), found


async def stored(container: Container, uri: str) -> dict[str, float | None]:
    found = await container.extractions().list(PROJECT, Filters(source_uris=(uri,)), limit=1_000)
    return {row.data["fact_text"]: row.confidence for row in found}


async def test_a_kill_at_any_statement_of_a_replace_leaves_nothing_of_it(
    container: Container, engine: Engine
) -> None:
    """In a run, with a key: sources that are new, change, are gone, and aren't named."""
    await container.ingestion().replace(
        PROJECT, [SourceFacts(uri, [fact(uri, f"{uri} {n}") for n in range(3)]) for uri in "abc"]
    )
    await settle(container)
    run = await container.runs().begin(PROJECT, "run")
    given = [
        SourceFacts("a", [fact("a", f"a {n}", source_group="g", confidence=0.5) for n in (1, 2, 7)]),
        SourceFacts("b", (), gone=True),
        SourceFacts("new", [fact("new", "new", metadata={"page": 1})]),
    ]
    options = ReplaceOptions(ReplaceScope.PROJECT, run_id=run.id, allow_mass_delete=True)
    before = rows(engine)

    def check() -> None:
        assert rows(engine) == before

    killed = await kills(
        engine, lambda: container.ingestion().replace(PROJECT, given, options, key="key"), check
    )
    assert killed > 20
    assert await stored(container, "a") == {"a 1": 0.5, "a 2": 0.5, "a 7": 0.5}
    assert [await stored(container, uri) for uri in ("b", "c", "new")] == [{}, {}, {"new": None}]
    assert (await container.runs().get(PROJECT, "run")).removed == 7
    await settle(container)


async def test_an_undoing_killed_at_any_statement_goes_on(container: Container, engine: Engine) -> None:
    """An undo of several transactions: those committed before the kill stay, the others follow."""
    uris = [f"doc:{number}" for number in range(150)]
    await container.ingestion().replace(PROJECT, [SourceFacts(uri, [fact(uri, "old")]) for uri in uris[::2]])
    await settle(container)
    before = rows(engine, Source, Extraction)
    run = await container.runs().begin(PROJECT, "run")
    options = ReplaceOptions(run_id=run.id, allow_mass_delete=True)
    await container.ingestion().replace(
        PROJECT, [SourceFacts(uri, [fact(uri, "new", source_group="g")]) for uri in uris], options
    )
    await settle(container)
    statement, killed, undone = 0, 0, None
    while undone is None:
        try:
            with killed_at(engine, statement):
                undone = await container.runs().undo(PROJECT, "run")
        except Killed:
            killed += 1
        statement += random.randint(1, 120)  # noqa: S311 - no secret
    assert killed > 10
    assert undone.left_alone == []
    await settle(container)
    assert rows(engine, Source, Extraction) == before
    with Session(engine) as session:
        undoings = session.scalars(select(Run).where(Run.undoes == run.id)).all()
    assert sum(each.removed > 0 for each in undoings) > 1
    assert sum(each.removed for each in undoings) == len(uris)
    assert sum(each.added for each in undoings) == len(uris[::2])


async def test_a_replacing_process_that_is_killed_leaves_old_or_new(
    container: Container, engine: Engine, database_url: str, disk_path: Path
) -> None:
    """``kill -9`` at any moment; the next process takes up what wasn't done, with the same keys."""
    await replace_all(container, 0)
    log, done = disk_path / "support.replacing_process.log", 0
    for _ in range(KILLS):
        begun = str(done + 1)
        with store_process(disk_path, database_url, "support.replacing_process", begun) as process:
            await until(partial(is_done, log, done + 1))
            await asyncio.sleep(random.uniform(0.0, 0.2))  # noqa: S311 - no secret
            process.kill()
            assert process.wait(timeout=60) == -9, log.read_text()[-5_000:]
        done = done_in(log)
        await assert_old_or_new(container, done)
    last = await replace_all(container, done + 1)
    assert last == COUNTS[(done + 1) % 2], "what was done before the kill gives the answer that it gave then"
    for uris in PARTS:
        for uri in uris:
            assert await stored(container, uri) == facts_of(uri, done + 1)
    with Session(engine) as session:
        numbers = list(session.scalars(select(LedgerEntry.number).order_by(LedgerEntry.number)))
    assert numbers == list(range(1, len(numbers) + 1))
    await settle(container)
    await assert_goes_on(container)


def is_done(log: Path, generation: int) -> bool:
    return done_in(log) >= generation


def done_in(log: Path) -> int:
    """The generation that was told last."""
    return max((int(line) for line in log.read_text().splitlines() if line.isdigit()), default=0)


async def assert_old_or_new(container: Container, done: int) -> None:
    """Check that each source is in the last generation or the next, like its whole transaction."""
    a, b, c = [await generation_of(container, uri, done) for uri in ("doc:a", "doc:b", "doc:c")]
    assert a == b >= c, "the parts follow each other"
    d = await stored(container, "doc:d")
    is_not_emptied_yet = c > done and d == facts_of("doc:d", done) and not facts_of("doc:d", c)
    assert d == facts_of("doc:d", c) or is_not_emptied_yet


async def generation_of(container: Container, uri: str, done: int) -> int:
    now = await stored(container, uri)
    found = [each for each in (done, done + 1) if facts_of(uri, each) == now]
    assert found, (uri, done, now)
    return found[0]
