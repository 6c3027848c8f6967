"""Outages of the database or Qdrant: nothing is lost or stuck, and everything else works."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import make_url
from support.postgres import open_test_engine
from support.processes import Service, errors_in, serve_process
from support.proxy import Proxy, to_tcp, to_unix
from support.qdrant_stub import Fault, QdrantStub
from support.service_client import ServiceClient, client_of, raw_item
from support.waiting import wait_for

pytestmark = pytest.mark.slow

AWAY_S = 10.0
BATCHES, BATCH = 40, 50
HANGING_S = 10.0
"""Longer than a response takes on a busy machine, if it doesn't wait for the outage."""

SETTINGS = {
    "WORKER_BATCH_SIZE": "10",
    "WORKER_POLL_INTERVAL": "0.2",
    "WORKER_RETRY_DELAY": "0.2",
    "WORKER_MAX_RETRY_DELAY": "1",
    "WORKER_MAX_ATTEMPTS": "1000",
    "QDRANT_TIMEOUT": "1",
    "QDRANT_RETRY_TIMEOUT": "2",
}


@pytest.fixture
def database_proxy(postgres_url: str) -> Iterator[Proxy]:
    """In front of the PostgreSQL server's socket."""
    folder = make_url(postgres_url).query["host"]
    with Proxy(to_unix(f"{folder}/.s.PGSQL.5432")) as proxy:
        yield proxy


def hand_in(client: ServiceClient, batches: range) -> dict[int, str]:
    """Hand batches in, all of which are accepted; the ids by number."""
    ids: dict[int, str] = {}
    for batch in batches:
        numbers = range(batch * BATCH, batch * BATCH + BATCH)
        answer = client.post([raw_item(number) for number in numbers])
        assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
        ids.update(zip(numbers, (each["id"] for each in answer.json()["items"]), strict=True))
    return ids


def asked_again_later(answer: httpx2.Response) -> bool:
    """Whether it is a 503 problem with Retry-After; no other error may occur."""
    if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
        assert answer.is_success, answer.text
        return False
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    return True


class Latencies:
    """How long calls took, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, list[float]] = {}

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Measure what is within."""
        started = time.monotonic()
        yield
        self.by_name.setdefault(name, []).append(time.monotonic() - started)

    def report(self, title: str) -> None:
        """Print them; seen with ``pytest -rP``."""
        for name, found in self.by_name.items():
            found.sort()
            print(  # noqa: T201 - for who measures
                f"{title}: {name}: {len(found)} calls, p50 {found[len(found) // 2] * 1e3:.1f} ms, "
                f"p99 {found[int(len(found) * 0.99)] * 1e3:.1f} ms, most {found[-1] * 1e3:.1f} ms"
            )

    def most_s(self) -> float:
        """The longest of all."""
        return max(map(max, self.by_name.values()))


def test_a_database_that_goes_away_and_returns(
    database_proxy: Proxy, postgres_url: str, tmp_path: Path
) -> None:
    """While jobs run and requests come."""
    latencies = Latencies()
    with served_through(database_proxy, postgres_url, tmp_path) as (service, client):
        ids = hand_in(client, range(BATCHES))
        database_proxy.go_away()
        came_back = time.monotonic() + AWAY_S
        while time.monotonic() < came_back:
            for path in ("/v1/projects", "/v1/jobs"):
                with latencies.measured(f"503 of {path}"):
                    assert asked_again_later(client.http.get(path))
            with latencies.measured("503 of an ingest"):
                assert asked_again_later(client.post([raw_item(0)]))
            look_at_health(client, latencies)
            time.sleep(0.1)
        database_proxy.come_back()
        assert_goes_on(client, ids)
    latencies.report("database away")
    assert latencies.most_s() < HANGING_S
    assert errors_in(service.log) == []


def test_a_database_that_hangs_and_goes_on(database_proxy: Proxy, postgres_url: str, tmp_path: Path) -> None:
    """While jobs run and more requests come than there are threads for them."""
    latencies = Latencies()
    with (
        served_through(database_proxy, postgres_url, tmp_path) as (service, client),
        ThreadPoolExecutor(30) as callers,
    ):
        ids = hand_in(client, range(BATCHES))
        database_proxy.hang()
        asked = [callers.submit(ask_once, service.url, number) for number in range(30)]
        goes_on = time.monotonic() + AWAY_S
        while time.monotonic() < goes_on:
            look_at_health(client, latencies)
            time.sleep(0.1)
        database_proxy.come_back()
        for each in asked:
            asked_again_later(each.result(timeout=60))
        assert_goes_on(client, ids)
    latencies.report("database hangs")
    assert latencies.most_s() < HANGING_S
    assert errors_in(service.log) == []


def test_a_database_that_vanishes_without_a_word_is_given_up(database_proxy: Proxy, postgres_url: str) -> None:
    """Not by a test that pulls a cable, but by what the kernel was told."""
    through = f"127.0.0.1:{database_proxy.port}/{make_url(postgres_url).database}?keepalives_idle=7"
    engine = open_test_engine(f"postgresql+psycopg://postgres@{through}")
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as wire:
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
    engine.dispose()


@contextmanager
def served_through(proxy: Proxy, url: str, folder: Path) -> Iterator[tuple[Service, ServiceClient]]:
    """The service with that database behind the proxy, and a client of it."""
    through = f"postgresql://postgres@127.0.0.1:{proxy.port}/{make_url(url).database}"
    settings = {**SETTINGS, "DATABASE_URL": through, "QDRANT_MODE": "embedded"}
    with serve_process(folder, settings) as service, client_of(service.url) as client:
        yield service, client


def look_at_health(client: ServiceClient, latencies: Latencies) -> None:
    """The service lives, and says what is wrong."""
    with latencies.measured("live"):
        client.get("/health/live")
    with latencies.measured("ready"):
        ready = client.http.get("/health/ready")
    assert {each["part"]: each["ok"] for each in ready.json()["parts"]} == {
        "database": False,
        "index": False,  # SQL says what made it
        "qdrant": True,
        "executor": True,
    }


def ask_once(url: str, number: int) -> httpx2.Response:
    """A request that needs the database."""
    with client_of(url) as client:
        return client.http.get("/v1/projects") if number % 2 else client.search("river")


def assert_goes_on(client: ServiceClient, ids: dict[int, str]) -> None:
    """Without a restart: what was accepted before, and what comes now."""
    wait_for(lambda: client.http.get("/health/ready").is_success)
    ids |= hand_in(client, range(BATCHES, BATCHES + 2))
    client.assert_holds(ids.values())
    client.assert_finds(ids, range(0, len(ids), 100))


@pytest.fixture
def stub() -> Iterator[QdrantStub]:
    with QdrantStub() as stub:
        yield stub


@pytest.fixture
def qdrant_proxy(stub: QdrantStub) -> Iterator[Proxy]:
    with Proxy(to_tcp(int(stub.url.rpartition(":")[2]))) as proxy:
        yield proxy


@contextmanager
def failing(stub: QdrantStub, proxy: Proxy, fault: Fault | None) -> Iterator[None]:
    """Every request has the fault; None: the server is down."""
    if fault is None:
        proxy.go_away()
    else:
        stub.always = fault
    yield
    stub.always = Fault()
    if fault is None:
        proxy.come_back()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(None, id="refuses"),
        pytest.param(Fault(status=500), id="answers 500"),
        pytest.param(Fault(delay_s=60.0), id="answers after 60 s"),
        pytest.param(Fault(cut=100, reset=True), id="resets mid-body"),
        pytest.param(Fault(cut=100, reset=True, after_effect=True), id="resets mid-body, the work done"),
    ],
)
def test_a_qdrant_that_fails_and_recovers(
    stub: QdrantStub, qdrant_proxy: Proxy, fault: Fault | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Operations that need only SQL aren't affected."""
    settings = {**SETTINGS, "QDRANT_URL": f"http://127.0.0.1:{qdrant_proxy.port}"}
    latencies = Latencies()
    with serve_process(tmp_path, settings) as service, client_of(service.url) as client:
        ids = hand_in(client, range(2))
        job = client.jobs()[0]["id"]
        client.wait_until_done()
        with failing(stub, qdrant_proxy, fault), client_of(service.url) as other:
            searching = threading.Thread(
                target=search_meanwhile, args=(other, deadline := time.monotonic() + 6.0)
            )
            searching.start()
            for batch in range(2, 62):
                with latencies.measured("ingest"):
                    ids |= hand_in(client, range(batch, batch + 1))
                with latencies.measured("get a job"):
                    client.get(f"/v1/jobs/{job}")
                with latencies.measured("live"):
                    client.get("/health/live")
                time.sleep(max(0.0, (deadline - time.monotonic()) / (62 - batch)))
            searching.join()
            assert not client.http.get("/health/ready").is_success
        client.assert_holds(ids.values())
        client.assert_finds(ids, range(0, len(ids), 500))
    latencies.report(request.node.name)
    assert latencies.most_s() < HANGING_S
    assert errors_in(service.log) == []


def search_meanwhile(client: ServiceClient, until: float) -> None:
    """Searches by meaning get a 503 with Retry-After; others are answered by words, and say so."""
    while time.monotonic() < until:
        assert asked_again_later(client.search("river", mode="meaning"))
        answer = client.search("river").raise_for_status().json()
        assert [lack.partition(":")[0] for lack in answer["degraded"]] == ["meaning"]
