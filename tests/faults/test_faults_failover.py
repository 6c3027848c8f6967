"""A database that is read-only for a while: by a failover, by its settings, by a locked file."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from support.disk import open_folder, read_only
from support.postgres import open_test_engine
from support.postgres_process import PostgresProcess, running_process, running_standby
from support.processes import errors_in, serve_process, worker_process
from support.proxy import Proxy, Streams, to_unix
from support.rows import empty
from support.service_client import ServiceClient, client_of, raw_item
from support.waiting import until, wait_for

from app.database import Database, WriteSession
from app.errors import (
    DatabaseConflict,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DatabaseWritesRefused,
)
from app.executor import Lane
from app.models import OPEN_JOB
from app.services.storage.repositories.job import JobRepository
from app.sql import schema
from app.sql.postgres import READ_ONLY_FOR_S
from app.worker.listener import Listener

pytestmark = pytest.mark.slow

STANDBY_S = 5.0
MakeLane = Callable[..., Lane]
SETTINGS = {
    "WORKER_BATCH_SIZE": "10",
    "WORKER_POLL_INTERVAL": "1",
    "WORKER_RETRY_DELAY": "0.2",
    "WORKER_MAX_RETRY_DELAY": "1",
    "WORKER_MAX_ATTEMPTS": "1000",
    "QDRANT_MODE": "embedded",
}


class Address:
    """One address for two servers: new connections go to ``server``, old ones stay."""

    def __init__(self, server: PostgresProcess) -> None:
        self.server = server

    async def connect(self) -> Streams:
        return await to_unix(f"{self.server.folder}/.s.PGSQL.5432")()


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgresProcess, PostgresProcess]]:
    """A primary, migrated, and its standby."""
    with running_process() as primary:
        engine = open_test_engine(primary.url)
        schema.upgrade(engine)
        engine.dispose()
        with running_standby(primary) as standby:
            wait_for(lambda: has_schema(standby))
            yield primary, standby


def has_schema(server: PostgresProcess) -> bool:
    engine = create_engine(server.url, poolclass=NullPool)
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    return bool(found)


@pytest.fixture
def address(servers: tuple[PostgresProcess, PostgresProcess]) -> Address:
    """Of the primary, which holds nothing of the tests before."""
    engine = open_test_engine(servers[0].url)
    empty(engine)
    engine.dispose()
    return Address(servers[0])


@pytest.fixture
def proxy(address: Address) -> Iterator[Proxy]:
    with Proxy(address.connect) as proxy:
        yield proxy


@pytest.fixture
def through(proxy: Proxy) -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"


def fail_over(proxy: Proxy, address: Address, server: PostgresProcess) -> None:
    """Every connection is lost, and new ones lead to that server."""
    proxy.go_away()
    address.server = server
    proxy.come_back()


def write(session: Session) -> None:
    session.execute(text("DELETE FROM jobs WHERE type = 'none'"))


def read(session: Session) -> int:
    found: int = session.scalar(text("SELECT count(*) FROM jobs")) or 0
    return found


def refused(answer: httpx2.Response) -> bool:
    """Whether it is a 503 with Retry-After; no other error may occur."""
    if answer.is_success:
        return False
    assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE, answer.text
    assert int(answer.headers["retry-after"]) > 0
    return True


def handed_in(client: ServiceClient, numbers: range) -> set[str]:
    """The ids of these items, which must be accepted."""
    answer = client.post([raw_item(number) for number in numbers])
    assert answer.is_success, answer.text
    return {each["id"] for each in answer.json()["items"]}


def set_read_only(server: PostgresProcess, value: str) -> None:
    """For new transactions, those of open sessions too, once the server has heard of it."""
    engine = create_engine(make_url(server.url), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER SYSTEM SET default_transaction_read_only = {value}"))
        connection.execute(text("SELECT pg_reload_conf()"))
        wait_for(lambda: connection.scalar(text("SHOW default_transaction_read_only")) == value)


def queue(engine: Engine) -> None:
    """Queue a job for ``support.worker_process``."""
    with WriteSession(engine) as session, session.begin():
        JobRepository(session).create("sleep", {"seconds": 0})


def count_open(engine: Engine) -> int:
    with WriteSession(engine) as session:
        return session.scalar(text(f"SELECT count(*) FROM jobs WHERE {OPEN_JOB}")) or 0  # noqa: S608 - a constant


def database_is_ready(client: ServiceClient) -> bool:
    parts = client.http.get("/health/ready").json()["parts"]
    return bool({part["part"]: part["ok"] for part in parts}["database"])


def test_a_standby_for_five_seconds_and_then_the_primary_again(
    servers: tuple[PostgresProcess, PostgresProcess],
    address: Address,
    proxy: Proxy,
    through: str,
    tmp_path: Path,
) -> None:
    primary, standby = servers
    settings = {**SETTINGS, "DATABASE_URL": through}
    with serve_process(tmp_path, settings) as service, client_of(service.url) as client:
        ids = handed_in(client, range(50))
        fail_over(proxy, address, standby)
        goes_back = time.monotonic() + STANDBY_S
        while time.monotonic() < goes_back:
            assert refused(client.post([raw_item(50)]))
            client.get("/v1/projects")  # what only reads goes on
            assert not database_is_ready(client)
            time.sleep(0.1)
        address.server = primary  # the connections to the standby stay
        refusals = 0
        while refused(answer := client.post([raw_item(50)])):
            refusals += 1
            assert refusals <= 3
            time.sleep(int(answer.headers["retry-after"]))
        # Until it is a second old, a connection to the standby that was made since may refuse a
        # write too.
        time.sleep(READ_ONLY_FOR_S)
        for number in range(50, 80):  # on each of the pool's connections
            ids |= handed_in(client, range(number, number + 1))
        assert database_is_ready(client)
        client.assert_holds(ids)
    assert errors_in(service.log) == []


def test_workers_of_their_own_go_on(
    servers: tuple[PostgresProcess, PostgresProcess],
    address: Address,
    proxy: Proxy,
    through: str,
    tmp_path: Path,
) -> None:
    """With a job that was queued meanwhile by another way."""
    primary, standby = servers
    engine = open_test_engine(primary.url)
    with worker_process(tmp_path, through, WORKER_POLL_INTERVAL="1", WORKER_MAX_ATTEMPTS="1000"):
        queue(engine)
        wait_for(lambda: count_open(engine) == 0)
        fail_over(proxy, address, standby)
        queue(engine)
        time.sleep(STANDBY_S)
        address.server = primary
        wait_for(lambda: count_open(engine) == 0)
    engine.dispose()


@pytest.fixture
def engine_through(through: str) -> Iterator[Engine]:
    engine = open_test_engine(through)
    yield engine
    engine.dispose()


async def test_a_refused_write_has_every_connection_made_again(
    servers: tuple[PostgresProcess, PostgresProcess],
    address: Address,
    proxy: Proxy,
    engine_through: Engine,
    make_lane: MakeLane,
) -> None:
    """As before PostgreSQL 14, where servers don't say by themselves that they are standbys."""
    database = Database(engine_through, make_lane("database"))
    fail_over(proxy, address, servers[1])
    with pytest.raises(DatabaseWritesRefused, match=r"name the primary in database\.url"):
        await database.write(write)
    held = [engine_through.connect() for _ in range(4)]
    for connection in held:
        connection.close()
    address.server = servers[0]
    with suppress(DatabaseWritesRefused):  # unless it took a second until here
        await database.write(write)
    for _ in range(8):
        await database.write(write)


async def test_reading_goes_on_while_only_that_is_possible(
    servers: tuple[PostgresProcess, PostgresProcess],
    address: Address,
    proxy: Proxy,
    engine_through: Engine,
    make_lane: MakeLane,
) -> None:
    database = Database(engine_through, make_lane("database"))
    fail_over(proxy, address, servers[1])
    assert await database.read(read) >= 0
    with pytest.raises(DatabaseWritesRefused):
        await database.ping()
    await asyncio.sleep(1.2)
    address.server = servers[0]
    await database.ping()
    await database.write(write)


async def test_a_read_that_writes_is_our_mistake_and_no_failover(
    postgres_engine: Engine, make_lane: MakeLane
) -> None:
    with pytest.raises(DatabaseError, match="25006") as caught:
        await Database(postgres_engine, make_lane("database")).read(write)
    assert not isinstance(caught.value, DatabaseWritesRefused)


async def test_a_standby_is_listened_to_when_it_is_promoted(
    servers: tuple[PostgresProcess, PostgresProcess], make_lane: MakeLane
) -> None:
    """A standby refuses LISTEN."""
    with running_standby(servers[0]) as standby:
        engine = open_test_engine(standby.url)
        heard = asyncio.Event()
        listener = Listener(engine, make_lane("database"), "channel", heard.set)
        listening = asyncio.create_task(listener.run())
        await asyncio.sleep(1.0)
        assert not heard.is_set()
        await asyncio.to_thread(standby.promote)
        await until(heard.is_set)
        listening.cancel()
        await asyncio.wait((listening,))
        engine.dispose()


async def test_transactions_that_are_read_only_by_default(
    servers: tuple[PostgresProcess, PostgresProcess], make_lane: MakeLane
) -> None:
    """As providers do when a disk is full; sessions hear of it while they are open."""
    engine = open_test_engine(servers[0].url)
    database = Database(engine, make_lane("database"))
    await database.write(write)
    set_read_only(servers[0], "on")
    try:
        with pytest.raises(DatabaseWritesRefused, match="default_transaction_read_only"):
            await database.write(write)
        with pytest.raises(DatabaseWritesRefused):
            await database.ping()
        assert await database.read(read) >= 0
    finally:
        set_read_only(servers[0], "off")
    await database.ping()
    await database.write(write)
    engine.dispose()


async def test_a_file_that_is_read_only_for_a_while(sqlite_template: Path, make_lane: MakeLane) -> None:
    """Connections that are opened meanwhile stay read-only; they aren't used again."""
    with open_folder() as folder:
        file = folder / "stored.db"
        shutil.copy(sqlite_template, file)
        first, engine = (open_test_engine(f"sqlite:///{file}") for _ in range(2))
        database = Database(engine, make_lane("database"))
        with first.connect() as keeper, read_only(folder):
            keeper.execute(text("SELECT 1"))  # its shared memory lets others open the file read-only
            with pytest.raises(DatabaseReadOnly, match="Give this process's user write permission"):
                await database.ping()
            held = [engine.connect() for _ in range(3)]
            for connection in held:
                connection.close()
        await database.ping()
        with suppress(DatabaseReadOnly):
            await database.write(write)
        for _ in range(6):
            await database.write(write)
        for each in (first, engine):
            each.dispose()


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        *((code, DatabaseUnavailable) for code in ("08006", "53300", "57P01", "57P02", "57P03")),
        ("40001", DatabaseConflict),
        ("40P01", DatabaseConflict),
        ("25006", DatabaseWritesRefused),
        ("0A000", DatabaseError),
    ],
)
async def test_what_a_server_says_while_it_stops_starts_or_follows(
    code: str, raised: type[DatabaseError], postgres_engine: Engine, make_lane: MakeLane
) -> None:
    """Each is raised by a function; a hot standby's conflict with a reader is 40001."""
    database = Database(postgres_engine, make_lane("database"))

    def fail(session: Session) -> None:
        session.execute(text(f"DO $$ BEGIN RAISE 'as if' USING ERRCODE = '{code}'; END $$"))

    with pytest.raises(DatabaseError) as caught:
        await database.write(fail)
    assert type(caught.value) is raised
    if code == "40001":
        with pytest.raises(DatabaseUnavailable):
            await database.read(fail)
    await database.write(write)
