"""Everything works through pgbouncer's transaction mode with ``database.prepared_statements`` off.

Two connections to the server serve more callers than that, each transaction on whichever is free.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from support.jobs import queue_jobs, statuses
from support.parts import make_item
from support.pgbouncer import POOL_SIZE, needs_pgbouncer, running_pgbouncer, through
from support.postgres import PostgresServer, open_test_engine
from support.rows import make_project
from support.waiting import until

from app.config import Settings
from app.database import Database
from app.domain.search import Query
from app.executor import Lane
from app.models import Project
from app.sql import schema
from containers import Container, create_container, running

pytestmark = [needs_pgbouncer, pytest.mark.slow]

MakeLane = Callable[..., Lane]
CALLERS = 8
LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


@pytest.fixture(scope="module")
def pgbouncer(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    name, url = postgres_server.create()
    with running_pgbouncer(tmp_path_factory.mktemp("pgbouncer"), url) as port:
        yield port
    postgres_server.drop(name)


@pytest.fixture
def pooled_url(pgbouncer: int, postgres_url: str) -> str:
    """Of an empty, migrated database, through pgbouncer."""
    return through(pgbouncer, postgres_url)


@contextmanager
def engine_on(url: str, *, prepared_statements: bool = False) -> Iterator[Engine]:
    engine = open_test_engine(url, pool_size=CALLERS, max_overflow=0, prepared_statements=prepared_statements)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def pooled(pooled_url: str, make_lane: MakeLane) -> Iterator[Database]:
    with engine_on(pooled_url) as engine:
        yield Database(engine, make_lane("database", limit=CALLERS))


def backend_and_names(session: Session) -> tuple[int, list[str]]:
    pid: int = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return pid, list(session.scalars(select(Project.name)))


@pytest.mark.slow
async def test_a_thousand_transactions_share_two_connections(pooled: Database) -> None:
    backends: set[int] = set()

    async def call(caller: int) -> None:
        for number in range(1_000 // CALLERS):
            if number % 5 == 0:
                name = f"p{caller}-{number}"
                await pooled.write(lambda session, name=name: make_project(session, name))  # type: ignore[misc]  # a default binds it
            backends.add((await pooled.read(backend_and_names))[0])

    await asyncio.gather(*map(call, range(CALLERS)))
    _, names = await pooled.read(backend_and_names)
    assert len(names) == CALLERS * 25
    assert len(backends) <= POOL_SIZE


@pytest.mark.parametrize("prepared_statements", [False, True])
def test_a_statement_repeated_on_another_connection_of_the_server(
    prepared_statements: bool, pooled_url: str
) -> None:
    """With prepared statements it breaks, so that one does prove that there are none."""
    repeated = text("SELECT count(*) FROM projects")
    with (
        engine_on(pooled_url, prepared_statements=prepared_statements) as engine,
        engine.connect() as first,
        engine.connect() as second,
    ):
        for _ in range(10):
            first.execute(repeated)
            first.commit()
        second.execute(text("SELECT 1"))  # takes what the first one used until now
        with pytest.raises(ProgrammingError) if prepared_statements else nullcontext():
            first.execute(repeated)


STATE = {
    "timezone": "SHOW timezone",
    "statement_timeout": "SHOW statement_timeout",
    "idle": "SHOW idle_in_transaction_session_timeout",
    "isolation": "SHOW transaction_isolation",
    "read only": "SHOW transaction_read_only",
}


def state(session: Session) -> dict[str, Any]:
    return {name: session.execute(text(statement)).scalar_one() for name, statement in STATE.items()}


async def test_what_must_hold_does_so_in_each_transaction_and_no_longer(
    pgbouncer: int, postgres_server: PostgresServer, make_lane: MakeLane
) -> None:
    defaults = {
        "timezone": "Asia/Tokyo",
        "statement_timeout": "7s",
        "idle_in_transaction_session_timeout": "8s",
    }
    ours = {"timezone": "UTC", "statement_timeout": "1min", "idle": "1min"}
    reading = {"isolation": "repeatable read", "read only": "on"}
    writing = {"isolation": "read committed", "read only": "off"}
    name, url = postgres_server.create()
    with psycopg.connect(url, autocommit=True) as owner:
        for setting, value in defaults.items():
            owner.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
    with engine_on(through(pgbouncer, url)) as engine:
        pooled = Database(engine, make_lane("database"))
        for _ in range(2):
            assert await pooled.read(state) == ours | reading
            assert await pooled.write(state) == ours | writing
        ours_pid = (await pooled.read(backend_and_names))[0]
        with psycopg.connect(through(pgbouncer, url), prepare_threshold=None) as other:
            asked = ["SELECT pg_backend_pid()", *STATE.values(), "SELECT count(*) FROM pg_listening_channels()"]
            found = [other.execute(each.encode()).fetchone() for each in asked]
    assert found == [(each,) for each in (ours_pid, *defaults.values(), *writing.values(), 0)]
    postgres_server.drop(name)


def test_migrations(pgbouncer: int, postgres_server: PostgresServer) -> None:
    name, url = postgres_server.create(migrated=False)
    with engine_on(through(pgbouncer, url)) as engine:
        schema.upgrade(engine)
        schema.check(engine)
    postgres_server.drop(name)


@pytest.fixture
async def working(pooled_url: str) -> AsyncIterator[Container]:
    """All parts, as pgbouncer needs them configured, and a worker that runs."""
    given = {
        "database": {"url": pooled_url, "prepared_statements": False},
        "qdrant": {"mode": "memory"},
        "embedding": {"provider": "deterministic"},
        "worker": {"poll_interval": 0.05, "batch_size": 20},
    }
    with running(create_container(Settings.model_validate(given))) as container:
        await container.indexing().prepare()
        worker = container.worker()
        task = asyncio.create_task(worker.run())
        yield container
        worker.stop()
        await task


async def test_from_ingest_to_search(working: Container, postgres_engine: Engine) -> None:
    """Also by jobs that another process queued, which aren't announced."""
    ingestion = working.ingestion()
    batches = [[make_item(n) for n in range(start, 160, CALLERS)] for start in range(CALLERS)]
    await asyncio.gather(*(ingestion.accept("papers", batch) for batch in batches))
    queue_jobs(postgres_engine, "embed", extraction_ids=[])
    await until(lambda: statuses(postgres_engine) == {"completed": CALLERS + 1})
    assert await working.qdrant_repository().count() == 160
    assert await working.search().search(Query("river mountain", project="papers"))
    metrics = await working.metrics_collector().collect()
    assert metrics.job_durations["embed"].count == CALLERS + 1
    with postgres_engine.connect() as connection:
        assert connection.scalar(text(LISTENING)) == 0
