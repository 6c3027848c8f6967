"""Three Qdrant nodes, two copies of each shard: restarting a node under load loses nothing."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import errors_in
from support.qdrant_cluster import Cluster, running_cluster
from support.qdrant_server import HOW_TO
from support.waiting import wait_for

from app.cli.chaos.books import Books, Report
from app.cli.chaos.load import Load
from app.cli.chaos.place import Place
from app.cli.chaos.running import calm_and_compared
from app.cli.remote.connection import Patience
from app.cli.remote.parts import open_remote
from app.config import Settings
from app.settings.sources import setting_keys

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("TEST_QDRANT_BINARY" not in os.environ, reason=HOW_TO),
]

KILLS = int(os.environ.get("TEST_NODE_KILLS", "3"))
"""A thorough run takes 6."""

COPIES = {"QDRANT_SHARD_NUMBER": "6", "QDRANT_REPLICATION_FACTOR": "2", "QDRANT_WRITE_CONSISTENCY_FACTOR": "1"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


def test_a_node_that_is_killed_under_load_costs_nothing(tmp_path: Path, cluster: Cluster) -> None:
    settings = [key.replace(".", "_", 1) for key in setting_keys(Settings)]
    place = Place(tmp_path, settings, qdrant=None, database_url=None, QDRANT_URL=cluster.url, **COPIES)
    books = Books(1)

    async def go() -> Report:
        await asyncio.to_thread(place.start)
        with open_remote(place.url, "", patience=Patience(20.0, 20.0)) as parts:
            load = Load(parts, books)
            running = asyncio.create_task(load.run())
            for _ in range(KILLS):
                await asyncio.sleep(2)
                await asyncio.to_thread(cluster.kill_one_for, 2.0)
                books.faults["kill a node"] += 1
            await asyncio.sleep(2)
            load.stop()
            await running
            return await calm_and_compared(parts, books, seconds=0.0, seed=1)

    try:
        report = asyncio.run(go())
    finally:
        place.end()
    assert report.held, report
    assert report.differing == 0
    assert report.counts["accepted"] > 1_000
    assert set(report.refusals) <= {"503"}

    def agree() -> bool:
        copies = cluster.copies("extractions")
        return len(copies) == 6 and all(
            len(each) == 2
            and {state for state, _ in each} == {"Active"}
            and len({count for _, count in each}) == 1
            for each in copies.values()
        )

    wait_for(agree, 60.0)
    together = sum(each[0][1] for each in cluster.copies("extractions").values())
    assert together == len(books.stored)
    assert errors_in(place.service.log) == []
