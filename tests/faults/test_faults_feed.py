"""The feed while four writers are killed: consumers miss nothing, and end with a copy."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.changing_process import PROJECT
from support.faults import assert_goes_on, compared
from support.forked import Process
from support.parts import index_all, open_container
from support.processes import store_process

from app.domain.changes import Change, ChangeKind, FeedPlace
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, SourceId
from app.domain.rows import ExtractionRow
from app.models import LedgerEntry
from containers import Container

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TEST_KILLS", "10"))
WRITERS = 4
LOG = "support.changing_process.log"


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


class Fact(NamedTuple):
    """What a consumer keeps of a fact."""

    source_id: SourceId
    source_uri: str
    group: str | None
    extraction_type: str
    text: str
    confidence: float | None
    page: int | None


def fact_of(row: ExtractionRow) -> Fact:
    page = None if row.metadata is None else row.metadata["page"]
    text = row.data["fact_text"]
    return Fact(
        row.source_id, row.source_uri, row.source_group, row.extraction_type, text, row.confidence, page
    )


class Follower:
    """A consumer: its copy of the project, and the changes that it was told."""

    def __init__(self, container: Container, limits: tuple[int, ...]) -> None:
        self._container = container
        self._limits = limits
        self._place: FeedPlace | None = None
        self.copy: dict[ExtractionId, Fact] = {}
        self.told: list[tuple[int, ChangeKind, SourceId, ExtractionId | None]] = []

    async def take_page(self) -> bool:
        """Whether there was more behind it."""
        limit = random.choice(self._limits)  # noqa: S311 - no secret
        page = await self._container.changes().feed(PROJECT, after=self._place, limit=limit)
        for change in page.changes:
            self.told.append((change.number, change.kind, change.source_id, change.extraction_id))
            self._take(change)
        self._place = page.place
        return not page.is_last

    async def take_all(self) -> None:
        while await self.take_page():
            pass

    def _take(self, change: Change) -> None:
        match change.kind:
            case ChangeKind.ADDED | ChangeKind.CHANGED if change.extraction is not None:
                self.copy[change.extraction.id] = fact_of(change.extraction)
            case ChangeKind.REMOVED:
                assert change.extraction_id is not None
                self.copy.pop(change.extraction_id, None)
            case ChangeKind.REGROUPED:
                assert change.after is not None
                for id_, fact in self.copy.items():
                    if fact.source_id == change.source_id:
                        self.copy[id_] = fact._replace(group=change.after["group"])


class Writers:
    """Processes that change the project until they are killed or stopped."""

    def __init__(self, stack: ExitStack, folder: Path, url: str) -> None:
        self._stack = stack
        self._folder = folder
        self._url = url
        self._stop = folder / "stop"
        self._processes = [self._start() for _ in range(WRITERS)]

    def kill_one(self) -> None:
        """``kill -9``, and another one begins."""
        place = random.randrange(WRITERS)  # noqa: S311 - no secret
        self._processes[place].kill()
        assert self._processes[place].wait(timeout=60) == -9, self._log()
        self._processes[place] = self._start()

    def end(self) -> None:
        """Each ends what it has begun."""
        self._stop.touch()
        assert [process.wait(timeout=60) for process in self._processes] == [0] * WRITERS, self._log()

    def _start(self) -> Process:
        seed = str(random.randrange(2**32))  # noqa: S311 - no secret
        started = store_process(self._folder, self._url, "support.changing_process", seed, str(self._stop))
        return self._stack.enter_context(started)

    def _log(self) -> str:
        return (self._folder / LOG).read_text()[-5_000:]


@contextmanager
def writing(folder: Path, url: str) -> Iterator[Writers]:
    with ExitStack() as stack:
        yield Writers(stack, folder, url)


async def test_followers_end_with_what_is_stored(
    container: Container, engine: Engine, database_url: str, disk_path: Path
) -> None:
    await container.projects().create(PROJECT)
    steady, pausing = Follower(container, (1, 2, 1_000, 1_000)), Follower(container, (7,))
    caught_up = 0
    with writing(disk_path, database_url) as writers:
        for kill in range(KILLS):
            moment = time.monotonic() + random.uniform(0.1, 1.0)  # noqa: S311 - no secret
            while time.monotonic() < moment:
                caught_up += not await steady.take_page()
                if kill < KILLS / 3:
                    await pausing.take_page()
            await asyncio.to_thread(writers.kill_one)
        await asyncio.to_thread(writers.end)
    assert caught_up > KILLS, "what isn't committed in order is missed only where all before it was read"
    late = Follower(container, (1_000,))
    for follower in (steady, pausing, late):
        await follower.take_all()
    stored = await container.extractions().list(PROJECT, Filters(), limit=1_000)
    for follower in (steady, pausing, late):
        assert follower.copy == {row.id: fact_of(row) for row in stored}
        assert follower.told == late.told
    assert len(set(late.told)) == len(late.told) > KILLS
    with Session(engine) as session:
        numbers = list(session.scalars(select(LedgerEntry.number).order_by(LedgerEntry.number)))
    assert numbers == list(range(1, len(numbers) + 1))
    assert {number for number, *_ in late.told} <= set(numbers)


async def test_killed_writers_leave_the_jobs_that_bring_the_index_in_line(
    container: Container, database_url: str, disk_path: Path
) -> None:
    await container.projects().create(PROJECT)
    with writing(disk_path, database_url) as writers:
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(0.0, 0.5))  # noqa: S311 - no secret
            await asyncio.to_thread(writers.kill_one)
        await asyncio.to_thread(writers.end)
    await container.indexing().prepare()
    await index_all(container)
    found = await compared(container)
    assert (found.remaining, found.extractions) == (0, found.points), found
    await assert_goes_on(container)
