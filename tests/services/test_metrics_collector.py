"""What a snapshot holds, and what taking one costs."""

import dataclasses
import json
import threading
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, insert
from support.backends import CONNECTIONS
from support.postgres import open_test_engine

from app.database import Database, WriteSession
from app.domain.jobs import JobStatus
from app.errors import DatabaseError
from app.executor import BoundedExecutor, Lane
from app.models import Base, Extraction, Job, Project, Source
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import duration_dialect_for
from app.services.metrics.snapshot import JobDurationStats, PoolStats
from app.sql import schema

pytestmark = pytest.mark.contract

START = datetime(2024, 2, 29, 12, tzinfo=UTC)


Values = dict[str, object]


def collector_of(database: Database, executor: BoundedExecutor | None = None) -> MetricsCollector:
    return MetricsCollector(database, duration_dialect_for(database.dialect), executor)


@pytest.fixture
def collector(database: Database, executor: BoundedExecutor) -> MetricsCollector:
    return collector_of(database, executor)


def extraction(kind: str, *, embedded: bool = False, reason: str | None = None) -> Values:
    key = uuid.uuid4()
    return {
        "id": key,
        "extraction_type": kind,
        "embedding_id": str(key) if embedded else None,
        "set_aside_reason": reason,
    }


async def store_extractions(database: Database, *extractions: Values) -> None:
    """Store them in a project and a source of their own."""
    project, source = uuid.uuid4(), uuid.uuid4()
    common = {"project_id": project, "source_id": source, "data": {"text": "a"}}

    def work(session: WriteSession) -> None:
        session.execute(insert(Project), {"id": project, "name": str(project)})
        session.execute(insert(Source), {"id": source, "project_id": project, "uri": "file:a"})
        session.execute(insert(Extraction), [row | common for row in extractions])

    await database.write(work)


def job(job_type: str, status: str, *, took: timedelta | None = None) -> Values:
    return {
        "type": job_type,
        "status": status,
        "started_at": None if took is None else START,
        "completed_at": None if took is None else START + took,
    }


async def store_jobs(database: Database, *jobs: Values) -> None:
    await database.write(lambda session: session.execute(insert(Job), list(jobs)))


class TestCounts:
    async def test_an_empty_database(self, collector: MetricsCollector) -> None:
        metrics = await collector.collect()

        assert (metrics.job_durations, metrics.jobs, metrics.extractions) == ({}, {}, {})
        assert (metrics.orphans, metrics.set_aside) == (0, 0)

    async def test_jobs_by_type_and_status(self, database: Database, collector: MetricsCollector) -> None:
        every = [job("embed", status) for status in JobStatus]
        await store_jobs(database, *every, *every[:2], job("no such type 😀", "queued"))

        counts = dict.fromkeys((("embed", str(status)) for status in JobStatus), 1)
        counts |= {("embed", "queued"): 2, ("embed", "running"): 2, ("no such type 😀", "queued"): 1}
        assert (await collector.collect()).jobs == counts

    async def test_extractions_by_type_in_all_projects(
        self, database: Database, collector: MetricsCollector
    ) -> None:
        await store_extractions(database, extraction("fact"), extraction("fact", embedded=True))
        await store_extractions(database, extraction("fact"), extraction("Ünknown 'type'"), extraction(""))

        assert (await collector.collect()).extractions == {"fact": 3, "Ünknown 'type'": 1, "": 1}

    async def test_orphans_are_not_those_set_aside(
        self, database: Database, collector: MetricsCollector
    ) -> None:
        aside = [extraction("fact", reason="no text"), extraction("definition", reason="")]
        await store_extractions(
            database, *aside, extraction("fact", embedded=True), *(extraction("fact") for _ in range(3))
        )

        metrics = await collector.collect()

        assert (metrics.orphans, metrics.set_aside) == (3, 2)

    async def test_durations_as_asked_for_alone(self, database: Database, collector: MetricsCollector) -> None:
        await store_jobs(database, job("embed", "completed", took=timedelta(microseconds=1)))

        durations = (await collector.collect()).job_durations

        assert durations == {"embed": JobDurationStats(1e-6, 1e-6, 1e-6, 1)}
        assert durations == await collector._job_duration_by_type()


class TestCost:
    async def test_one_transaction_on_one_thread(
        self, engine: Engine, executor: BoundedExecutor, collector: MetricsCollector
    ) -> None:
        threads: list[int] = []
        event.listen(engine, "begin", lambda _connection: threads.append(threading.get_ident()))

        await collector.collect()

        assert len(threads) == 1
        assert threads[0] != threading.get_ident()
        assert [lane.finished for lane in executor.stats()] == [1]

    async def test_the_statements_do_not_grow_with_the_types(
        self, engine: Engine, database: Database, collector: MetricsCollector
    ) -> None:
        sent: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: sent.append(sql))
        await collector.collect()
        few = len(sent)
        await store_jobs(database, *(job(f"type {n}", "completed", took=timedelta(n)) for n in range(50)))

        sent.clear()
        await collector.collect()

        assert len(sent) == few

    async def test_a_refused_statement_is_our_error(self, engine: Engine, collector: MetricsCollector) -> None:
        Base.metadata.drop_all(engine)

        with pytest.raises(DatabaseError):
            await collector.collect()


class TestGauges:
    async def test_lanes_as_they_stood_before(
        self, executor: BoundedExecutor, collector: MetricsCollector, make_lane: Callable[..., Lane]
    ) -> None:
        embedding = make_lane("embedding", limit=2)
        await embedding.run(int)
        before = tuple(executor.stats())

        metrics = await collector.collect()

        assert metrics.lanes == before
        assert [lane.name for lane in metrics.lanes] == ["database", "embedding"]
        assert (metrics.lanes[1].limit, metrics.lanes[1].finished) == (2, 1)

    async def test_no_lanes_without_an_executor(self, database: Database) -> None:
        assert (await collector_of(database).collect()).lanes == ()

    @pytest.mark.needs(CONNECTIONS)
    async def test_a_pool_without_its_own_connection(self, engine: Engine, collector: MetricsCollector) -> None:
        assert (await collector.collect()).pool == PoolStats(size=5, checked_out=0, overflow=0)

        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(engine.connect())
            assert (await collector.collect()).pool == PoolStats(size=5, checked_out=3, overflow=0)
            for _ in range(4):
                held.enter_context(engine.connect())
            assert (await collector.collect()).pool == PoolStats(size=5, checked_out=7, overflow=2)

        assert (await collector.collect()).pool.checked_out == 0

    async def test_the_one_connection_of_a_database_in_memory(self, make_lane: Callable[..., Lane]) -> None:
        engine = open_test_engine("sqlite://")
        schema.upgrade(engine)

        metrics = await collector_of(Database(engine, make_lane("database", limit=1))).collect()

        engine.dispose()
        assert metrics.pool == PoolStats(size=1, checked_out=None, overflow=0)
        assert metrics.jobs == {}

    async def test_no_pool_at_all(self, sqlite_url: str, make_lane: Callable[..., Lane]) -> None:
        engine = create_engine(sqlite_url, poolclass=NullPool)

        metrics = await collector_of(Database(engine, make_lane("database"))).collect()

        assert metrics.pool == PoolStats(size=0, checked_out=None, overflow=0)


class TestAsDict:
    async def test_survives_json(self, database: Database, collector: MetricsCollector) -> None:
        await store_jobs(
            database,
            job("embed", "completed", took=timedelta(seconds=1.5)),
            job("embed", "queued"),
            job("tidy", "failed"),
        )
        await store_extractions(database, extraction("fact"), extraction("fact", reason="no text"))

        metrics = await collector.collect()
        document = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))

        lanes = document.pop("lanes")
        assert document == {
            "job_durations": {
                "embed": {"avg_seconds": 1.5, "min_seconds": 1.5, "max_seconds": 1.5, "count": 1}
            },
            "jobs": {"embed": {"completed": 1, "queued": 1}, "tidy": {"failed": 1}},
            "extractions": {"fact": 2},
            "orphans": 1,
            "set_aside": 1,
            "pool": dataclasses.asdict(metrics.pool),
        }
        (lane,) = metrics.lanes
        assert lanes == {
            "database": {
                "limit": lane.limit,
                "active": 0,
                "waiting": 0,
                "rejected": 0,
                "finished": 2,
                "wait_seconds": lane.wait_seconds,
                "run_seconds": lane.run_seconds,
            }
        }
