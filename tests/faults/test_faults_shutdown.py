"""Every lane busy: callers are rejected with a clear error meanwhile, and closing loses nothing."""

import asyncio
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from support.faults import assert_goes_on, compared
from support.parts import index_all, make_item, open_container, settings_for

from app.domain.search import Query
from app.errors import Saturated, ShuttingDown
from app.executor import Lane
from containers import Container, create_container, running

pytestmark = pytest.mark.slow

SATURATED_S = float(os.environ.get("TEST_SATURATED_SECONDS", "1"))
"""For how long; a thorough run takes 60."""


def lanes_of(container: Container) -> list[Lane]:
    return [
        container.database_lane(),
        container.qdrant_lane(),
        container.embedding_lane(),
        container.files_lane(),
    ]


async def test_a_saturated_executor_refuses_at_once_and_recovers(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "embedded", executor={"max_waiting": 3})
    with running(create_container(settings)) as container:
        await container.indexing().prepare()
        release, outcomes = threading.Event(), Counter[str]()
        stuck = list[asyncio.Task[bool]]()
        slowest_s, ends = 0.0, time.monotonic() + SATURATED_S
        while time.monotonic() < ends:
            for lane in lanes_of(container):  # who waits too long leaves, and another comes
                room = lane.limit + lane.max_waiting - lane.stats().active - lane.stats().waiting
                stuck += [asyncio.create_task(lane.run(release.wait)) for _ in range(room)]
            await asyncio.sleep(0)
            for call in (
                container.ingestion().accept("papers", [make_item(1)]),
                container.search().search(Query("river")),
            ):
                asked = time.monotonic()
                try:
                    await call
                except Saturated as error:
                    outcomes[f"{error.lane} {error.retryable}"] += 1
                slowest_s = max(slowest_s, time.monotonic() - asked)
            await asyncio.sleep(0.01)
        assert outcomes.keys() == {"database True", "embedding True"}
        release.set()
        await asyncio.gather(*stuck, return_exceptions=True)
        print(f"{outcomes.total()} refused, the slowest after {slowest_s * 1e3:.1f} ms")  # noqa: T201 - for who measures
        await assert_goes_on(container)


async def test_closing_while_every_lane_is_busy(tmp_path: Path) -> None:
    """Accepted items are stored, waiting callers get an error, and running work gets a deadline."""
    settings = settings_for(tmp_path, "embedded", executor={"shutdown_timeout": 0.5})
    release = threading.Event()
    try:
        with running(create_container(settings)) as container:
            await container.indexing().prepare()
            accepted = await container.ingestion().accept("papers", [make_item(n) for n in range(50)])
            lanes = lanes_of(container)
            stuck = [asyncio.create_task(lane.run(release.wait)) for lane in lanes for _ in range(lane.limit)]
            waiting = [asyncio.create_task(lane.run(int)) for lane in lanes]
            await asyncio.sleep(0)
            closing = time.monotonic()
        took_s = time.monotonic() - closing
        told = await asyncio.gather(*waiting, return_exceptions=True)
    finally:
        release.set()
    await asyncio.gather(*stuck)
    print(f"closed after {took_s:.2f} s")  # noqa: T201 - for who measures
    assert [type(each) for each in told] == [ShuttingDown] * len(lanes)
    assert took_s < 15, "a hang, however busy the machine is"
    with open_container(tmp_path, mode="embedded") as container:
        await container.indexing().prepare()
        await index_all(container)
        found = await compared(container)
        assert (found.remaining, found.points) == (0, len(accepted.ids))
        await assert_goes_on(container)
