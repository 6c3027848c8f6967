"""Services wait for the parts they need, say so, and give up in time; commands don't wait."""

import asyncio
import logging
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from sqlalchemy import make_url, text
from support.postgres import PostgresServer
from support.processes import command_process, free_port, serve_process
from support.proxy import Proxy, to_tcp, to_unix
from support.qdrant_stub import QdrantStub
from support.service_client import client_of, raw_item
from support.waiting import until, wait_for

from app.config import Settings
from app.entrypoints.startup import Startup
from app.errors import AgentStorageError, DatabaseUnavailable, NotStarted, QdrantError, SchemaMismatch
from containers import Container, create_container, running

pytestmark = pytest.mark.slow

SECRET = "hunter2"  # noqa: S105 - of nothing


class Stores(NamedTuple):
    """A PostgreSQL and a Qdrant that a test makes available. ``settings`` are their variables."""

    settings: dict[str, str]
    link: Path
    sockets: str
    qdrant: Proxy

    def start_database(self) -> None:
        self.link.symlink_to(self.sockets)


@pytest.fixture
def stores(postgres_url: str, tmp_path: Path) -> Iterator[Stores]:
    url, link = make_url(postgres_url), tmp_path / "pg"
    with QdrantStub() as stub, Proxy(to_tcp(int(stub.url.rpartition(":")[2]))) as qdrant:
        qdrant.go_away()
        settings = {
            "DATABASE_URL": f"postgresql://postgres:{SECRET}@/{url.database}?host={link}",
            "QDRANT_URL": f"http://127.0.0.1:{qdrant.port}",
            "QDRANT_API_KEY": SECRET,
            "WORKER_POLL_INTERVAL": "0.1",
        }
        yield Stores(settings, link, str(url.query["host"]), qdrant)


def test_a_service_that_was_started_before_its_stores(stores: Stores, tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    with serve_process(tmp_path, stores.settings) as service, client_of(service.url) as client:
        refused = client.post([raw_item(0)])
        assert (refused.status_code, refused.headers["retry-after"]) == (httpx2.codes.SERVICE_UNAVAILABLE, "2")
        assert refused.json()["type"].endswith(":starting")
        wait_for(lambda: "waiting for the database" in log.read_text())
        stores.start_database()
        wait_for(lambda: client.post([raw_item(0)]).is_success)
        wait_for(lambda: "waiting for Qdrant" in log.read_text())
        assert client.get("/v1/projects")
        stores.qdrant.come_back()
        client.wait_until_done()
        assert client.http.get("/health/ready").is_success
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=30) == 0
    assert SECRET not in log.read_text()


@pytest.mark.parametrize(
    ("command", "database_is_there", "told"),
    [
        ("serve", False, "gave up waiting for the database after 0.5 s (worker.startup_timeout): "),
        ("worker", True, "gave up waiting for Qdrant after 0.5 s (worker.startup_timeout): "),
    ],
)
def test_a_service_gives_up_in_time(
    command: str, database_is_there: bool, told: str, stores: Stores, tmp_path: Path
) -> None:
    if database_is_there:
        stores.start_database()
    settings = {**stores.settings, "WORKER_STARTUP_TIMEOUT": "0.5", "API_PORT": str(free_port())}
    with command_process(tmp_path, settings, command) as process:
        assert process.wait(timeout=60) == 1
    log = (tmp_path / "command.log").read_text()
    assert f"Error: {told}" in log
    assert "Start it, or correct " in log.splitlines()[-1]
    assert "Traceback" not in log
    assert SECRET not in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_waiting(number: signal.Signals, stores: Stores, tmp_path: Path) -> None:
    with command_process(tmp_path, stores.settings, "worker") as process:
        wait_for(lambda: "waiting for the database" in (tmp_path / "command.log").read_text())
        process.send_signal(number)
        assert process.wait(timeout=30) == 0


def settings_for(url: str, qdrant: dict[str, str] | None = None) -> Settings:
    given = {
        "database": {"url": url},
        "qdrant": qdrant or {"mode": "memory"},
        "embedding": {"provider": "deterministic"},
    }
    return Settings.model_validate(given)


@contextmanager
def opened(settings: Settings) -> Iterator[Container]:
    """As a service opens it."""
    container = create_container(settings)
    container.config.executor.shutdown_timeout.from_value(0.5)
    with running(container, check=False):
        yield container


@pytest.mark.parametrize("revision", ["0001", "9999", None])
async def test_another_schema_is_refused_at_once(revision: str | None, postgres_server: PostgresServer) -> None:
    name, url = postgres_server.create(migrated=revision is not None)
    with opened(settings_for(url)) as container:
        if revision is not None:
            with container.engine().begin() as connection:
                connection.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": revision})
        with pytest.raises(SchemaMismatch):
            await Startup(container, 3_600.0, asyncio.Event()).database()
    postgres_server.drop(name)


@pytest.fixture
def silent_url(postgres_url: str) -> Iterator[str]:
    """Of a database that accepts connections, and answers nothing."""
    url = make_url(postgres_url)
    with Proxy(to_unix(f"{url.query['host']}/.s.PGSQL.5432")) as proxy:
        proxy.hang()
        yield f"postgresql://postgres@127.0.0.1:{proxy.port}/{url.database}"


async def test_a_silent_database_is_given_up_in_time(silent_url: str) -> None:
    with (
        opened(settings_for(silent_url)) as container,
        pytest.raises(NotStarted, match=r"database after 0.2 s .*no answer"),
    ):
        await Startup(container, 0.2, asyncio.Event()).database()


async def test_stopping_ends_the_waiting_for_a_silent_database(silent_url: str) -> None:
    stopping = asyncio.Event()
    with opened(settings_for(silent_url)) as container:
        waiting = asyncio.create_task(Startup(container, 3_600.0, stopping).database())
        await until(lambda: container.database_lane().stats().active)
        stopping.set()
        assert await waiting is False


@pytest.mark.parametrize(
    ("status", "raised"), [(401, QdrantError), (503, NotStarted)], ids=["refused", "unavailable"]
)
async def test_what_waiting_cannot_help_fails_at_once(
    status: int, raised: type[AgentStorageError], sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "app.entrypoints.startup")
    with QdrantStub() as stub, opened(settings_for(sqlite_url, {"url": stub.url})) as container:
        stub.always = type(stub.always)(status=status)
        with pytest.raises(raised):
            await Startup(container, 1.0, asyncio.Event()).index()
    assert (len(caplog.messages) > 0) == (status == 503)
    waiting = re.compile("waiting for Qdrant, for another [01] s at most: ")
    assert all(waiting.match(message) for message in caplog.messages)


def test_commands_do_not_wait(tmp_path: Path) -> None:
    container = create_container(settings_for(f"postgresql:///x?host={tmp_path}"))
    with pytest.raises(DatabaseUnavailable), running(container):
        pass
