"""Connections to PostgreSQL: their number, waiting callers, time limits, and recovery."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from support.pgbouncer import needs_pgbouncer, running_pgbouncer, through
from support.postgres import PostgresServer, open_test_engine
from support.postgres_process import running_process
from support.settings import enter_empty_place, write_yaml
from support.waiting import until

from app.config import load_settings
from app.database import CountingPool, Database
from app.errors import DatabaseTimeout, DatabaseUnavailable, DeadlineExceeded, Saturated
from app.executor import Lane
from app.services.storage.repositories.job import CHANNEL
from app.sql import schema
from app.worker.listener import Listener
from containers import create_container, running

pytestmark = pytest.mark.slow

MakeLane = Callable[..., Lane]
APPLICATION = "counted"
SHORT = {"statement_timeout": 0.2, "idle_in_transaction_timeout": 0.2}


def engine_on(url: str, **settings: Any) -> Engine:
    """With 5 connections at most, unless ``settings`` say otherwise."""
    return open_test_engine(url, max_overflow=0, pool_timeout=10.0, **settings)


def test_sizes_from_the_configuration_reach_the_pool(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_empty_place(tmp_path, monkeypatch)
    monkeypatch.setenv("DB_MAX_OVERFLOW", "2")
    monkeypatch.setenv("DATABASE_STATEMENT_TIMEOUT", "7")
    given = {
        "database": {
            "url": postgres_url,
            "pool_size": 1,
            "pool_timeout": 0.05,
            "idle_in_transaction_timeout": 8,
        },
        "qdrant": {"mode": "memory"},
        "executor": {"database_limit": 3},
    }
    with running(create_container(load_settings(write_yaml(tmp_path / "config.yml", given)))) as container:
        engine = container.engine()
        taken = [engine.connect() for _ in range(3)]
        with pytest.raises(Exception, match=r"size 1 overflow 2 reached, connection timed out, timeout 0\.05"):
            engine.connect()
        assert taken[0].scalar(text("SHOW statement_timeout")) == "7s"
        assert taken[0].scalar(text("SHOW idle_in_transaction_session_timeout")) == "8s"
        for connection in taken:
            connection.close()


@contextmanager
def counting(url: str) -> Iterator[Callable[[], int]]:
    """Counts the connections that the server has of ``APPLICATION``."""
    engine = create_engine(url, poolclass=NullPool)
    statement = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")

    def count() -> int:
        with engine.connect() as connection:
            found: int = connection.execute(statement, {"name": APPLICATION}).scalar_one()
            return found

    yield count
    engine.dispose()


def waits(engine: Engine) -> int:
    assert isinstance(engine.pool, CountingPool)
    return engine.pool.waits


async def test_who_finds_no_connection_waits_in_the_lane(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server never sees more connections than the pool's and the one that listens for jobs."""
    enter_empty_place(tmp_path, monkeypatch)
    given = {
        "database": {
            "url": f"{postgres_url}&application_name={APPLICATION}",
            "pool_size": 2,
            "max_overflow": 1,
            "pool_timeout": 0.5,
        },
        "qdrant": {"mode": "memory"},
        "executor": {"database_limit": 3, "max_waiting": 2},
    }
    released = threading.Event()

    def hold(session: Session) -> bool:
        session.execute(text("SELECT 1"))
        return released.wait(30)

    settings = load_settings(write_yaml(tmp_path / "config.yml", given))
    with running(create_container(settings)) as container, counting(postgres_url) as count:
        database, lane, heard = container.database(), container.database_lane(), asyncio.Event()
        listening = asyncio.create_task(Listener(container.engine(), lane, CHANNEL, heard.set).run())
        await heard.wait()
        holding = [asyncio.create_task(database.write(hold)) for _ in range(3)]
        await until(lambda: lane.stats().active == 3 and count() == 4)
        waiting = [asyncio.create_task(database.ping()) for _ in range(2)]
        await until(lambda: lane.stats().waiting == 2)
        with pytest.raises(Saturated):  # at once, since two wait already
            await database.ping()
        for each in waiting:
            with pytest.raises(Saturated):  # after database.pool_timeout
                await each
        with pytest.raises(DeadlineExceeded):
            await database.read(lambda _: None, timeout_s=0.01)
        assert count() == 4
        released.set()
        assert await asyncio.gather(*holding) == [True] * 3
        await database.ping()
        assert waits(container.engine()) == 0
        listening.cancel()
        await asyncio.wait((listening,))


@pytest.fixture(params=["direct", pytest.param("pgbouncer", marks=needs_pgbouncer)])
def limited(request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path) -> Iterator[Engine]:
    """An engine with short time limits."""
    if request.param == "direct":
        engine = engine_on(postgres_url, pool_size=1, **SHORT)
        yield engine
        engine.dispose()
        return
    with running_pgbouncer(tmp_path, postgres_url) as port:
        engine = engine_on(through(port, postgres_url), pool_size=1, prepared_statements=False, **SHORT)
        yield engine
        engine.dispose()


def sleep(session: Session) -> None:
    session.execute(text("SELECT pg_sleep(30)"))


def be_silent(session: Session, then: str | None = "SELECT 1") -> None:
    session.execute(text("SELECT 1"))
    threading.Event().wait(0.4)
    if then is not None:
        session.execute(text(then))


@pytest.mark.parametrize(
    ("work", "told"),
    [
        pytest.param(sleep, r"a statement ran .* 0.2 s \(database.statement_timeout\)", id="statement"),
        pytest.param(
            be_silent,
            r"a transaction was idle .* 0.2 s \(database.idle_in_transaction_timeout\)",
            id="silence",
        ),
    ],
)
@pytest.mark.parametrize("access", ["read", "write"])
async def test_a_time_limit_cuts_and_the_next_call_works(
    access: str, work: Callable[[Any], None], told: str, limited: Engine, make_lane: MakeLane
) -> None:
    database = Database(limited, make_lane("database"))
    with pytest.raises(DatabaseTimeout, match=told) as caught:
        await getattr(database, access)(work)
    assert caught.value.retryable
    await database.ping()


async def test_silence_before_the_commit_is_cut_too(limited: Engine, make_lane: MakeLane) -> None:
    """What a pooler makes of it can't be told apart from a connection that was lost."""
    database = Database(limited, make_lane("database"))
    with pytest.raises((DatabaseTimeout, DatabaseUnavailable)):
        await database.write(partial(be_silent, then=None))
    await database.ping()


async def test_what_somebody_cancels_may_be_tried_again(postgres_url: str, make_lane: MakeLane) -> None:
    engine = engine_on(postgres_url)

    def cancel_itself(session: Session) -> None:
        session.execute(text("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(30)"))

    with pytest.raises(DatabaseUnavailable, match="57014"):
        await Database(engine, make_lane("database")).write(cancel_itself)
    engine.dispose()


async def test_the_options_of_the_url_win(postgres_url: str, make_lane: MakeLane) -> None:
    engine = engine_on(f"{postgres_url}&options=-c%20statement_timeout%3D150")
    database = Database(engine, make_lane("database"))
    with pytest.raises(DatabaseTimeout, match=r"statement_timeout in the options of database\.url"):
        await database.write(sleep)
    idle = text("SHOW idle_in_transaction_session_timeout")
    assert await database.read(lambda session: session.scalar(idle)) == "1min"
    engine.dispose()


def test_a_migration_takes_its_time(postgres_server: PostgresServer) -> None:
    """Here: waiting for another one."""
    name, url = postgres_server.create(migrated=False)
    engine, other = engine_on(url, **SHORT), engine_on(url)
    with ThreadPoolExecutor(1) as pool:
        with other.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": schema._MIGRATION_LOCK})
            migrating = pool.submit(schema.upgrade, engine)
            threading.Event().wait(0.5)
        migrating.result(timeout=60)
    schema.check(engine)
    for each in (engine, other):
        each.dispose()
    postgres_server.drop(name)


async def test_a_restart_of_the_server_fails_only_what_was_in_flight(make_lane: MakeLane) -> None:
    connections = 4
    with running_process() as server:
        engine = engine_on(server.url, pool_size=connections)
        database = Database(engine, make_lane("database", limit=connections))
        together = threading.Barrier(connections)

        def backend(session: Session) -> int:
            pid: int = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
            together.wait(30)  # so that each has its own connection
            return pid

        async def use_all() -> set[int]:
            return set(await asyncio.gather(*(database.write(backend) for _ in range(connections))))

        before = await use_all()
        in_flight = asyncio.create_task(database.write(sleep))
        await until(lambda: "out connections: 1" in engine.pool.status())
        await asyncio.to_thread(server.stop)
        with pytest.raises(DatabaseUnavailable):
            await in_flight
        await asyncio.to_thread(server.start)
        after = await use_all()
        assert len(before) == len(after) == connections
        engine.dispose()
