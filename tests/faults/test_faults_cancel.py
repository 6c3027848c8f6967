"""A caller cancelled at every await of every call: nothing is lost, kept or left behind."""

from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool
from support.cancelling import Moment, left
from support.faults import assert_goes_on, compared
from support.parts import fill, make_item, open_container
from support.rows import writing
from support.waiting import until
from support.wheres import where

from app.domain.filters import Filters
from app.domain.search import Query
from app.services.storage.repositories.lease import LeaseRepository
from containers import Container

pytestmark = pytest.mark.slow

Call = Callable[[Container, int], Coroutine[Any, Any, object]]


async def ingest_and_index(container: Container, nth: int) -> None:
    """What ``agent-storage ingest`` does with a batch."""
    items = [make_item(nth * 10 + place) for place in range(3)]
    await container.ingestion().accept("papers", items)
    await container.worker().run_one()


async def search(container: Container, _: int) -> None:
    await container.search().search(Query("glacier river", project="papers", limit=3))
    await container.search().search(
        Query("glacier river", limit=3, filters=Filters(where=where({"odd": True})))
    )


async def delete_and_unindex(container: Container, _: int) -> None:
    [found] = await container.search().search(Query("glacier river", limit=1))
    await container.extractions().delete(found.extraction.id)
    await container.worker().run_one()


async def repair(container: Container, _: int) -> None:
    await compared(container, repair=True)


CALLS: dict[str, tuple[Call, int]] = {
    "ingest": (ingest_and_index, 10),
    "search": (search, 6),
    "delete": (delete_and_unindex, 12),
    "repair": (repair, 6),
}
"""The calls with their minimal numbers of awaits; a test that reached fewer would prove nothing."""


@pytest.mark.parametrize("moment", ["as it begins to wait", "as its answer comes"])
@pytest.mark.parametrize("name", CALLS)
async def test_cancelled_at_every_await(
    name: str, moment: Moment, sqlite_engine: Engine, tmp_path: Path
) -> None:
    await cancel_at_every_await(sqlite_engine, tmp_path, name, moment)


async def test_cancelled_at_every_await_of_an_ingest_on_postgres(
    postgres_engine: Engine, tmp_path: Path
) -> None:
    await cancel_at_every_await(postgres_engine, tmp_path, "ingest", "as its answer comes")


async def cancel_at_every_await(engine: Engine, folder: Path, name: str, moment: Moment) -> None:
    """At the first, then at the second, until the call ends before it is left."""
    call, awaits = CALLS[name]
    with open_container(folder, mode="embedded", engine=engine) as container:
        await fill(container, [make_item(1_000_000 + n) for n in range(20)])
        for nth in count(1):
            was_left = await left(call(container, nth), nth, moment)
            await until(lambda: not any(lane.active or lane.waiting for lane in container.executor().stats()))
            assert isinstance(engine.pool, QueuePool)
            assert engine.pool.checkedout() == 0
            with writing(engine) as session:  # the cancelled caller's job is only free after its lease
                LeaseRepository(session).expire_all()
            await assert_goes_on(container, number=2_000_000 + nth)
            if not was_left:
                break
    assert nth > awaits
