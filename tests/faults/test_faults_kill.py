"""``kill -9`` of any process at any time: accepted items are stored, indexed and found, once."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Self

import httpx2
import pytest
from support.processes import command_process, errors_in, free_port, serve_process
from support.producing import Producer
from support.qdrant_process import qdrant_process
from support.service_client import client_of, post_until_accepted, raw_item

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TEST_KILLS", "10"))
"""How often each of the two services is killed; a thorough run takes 25."""

REQUESTS = 1_000
EXTRACTIONS = 20_000
Start = Callable[[], AbstractContextManager[object]]

SETTINGS = {"WORKER_BATCH_SIZE": "100", "WORKER_LEASE_TIMEOUT": "2", "WORKER_POLL_INTERVAL": "0.2"}


def test_one_key_1000_times_has_one_effect_and_one_answer(disk_path: Path) -> None:
    """The service is killed while requests are under way, and started again."""
    port, lives = free_port(), 5
    items, bodies = [raw_item(number) for number in range(10)], list[bytes]()
    with client_of(f"http://127.0.0.1:{port}") as client:
        for life in range(lives):
            with serve_process(disk_path, {}, port=port) as service, killed_soon(service.kill):
                while len(bodies) < REQUESTS * (life + 1) / lives:
                    try:
                        answer = client.post(items, "the-key")
                    except httpx2.TransportError:
                        break
                    assert answer.status_code == httpx2.codes.ACCEPTED, answer.text
                    bodies.append(answer.content)
        with serve_process(disk_path, {}, port=port) as service:
            while len(bodies) < REQUESTS:
                bodies.append(post_until_accepted(client, items, "the-key").content)
            client.wait_until_done()
            assert len(client.get("/v1/jobs", type="embed")["items"]) == 1
            assert client.verify()["extractions"] == len(items)
    assert len(set(bodies)) == 1
    assert errors_in(service.log) == []


def test_a_killed_service_loses_nothing_that_it_accepted(disk_path: Path) -> None:
    """SQLite and the embedded engine, with the worker inside."""
    port = free_port()
    producer = Producer(f"http://127.0.0.1:{port}", EXTRACTIONS)
    with Killable(partial(serve_process, disk_path, SETTINGS, port=port)) as service:
        with producer.sending():
            for _ in range(KILLS):
                producer.allow(1 / (KILLS + 1))
                time.sleep(moment_s())
                service.restart()
            producer.finish()
        check(producer)
    assert errors_in(disk_path / "serve.log") == []


def test_killed_workers_and_apis_lose_nothing_that_was_accepted(postgres_url: str, disk_path: Path) -> None:
    """PostgreSQL and a Qdrant server, an API and two workers."""
    port = free_port()
    producer = Producer(f"http://127.0.0.1:{port}", EXTRACTIONS)
    with qdrant_process() as qdrant_url, ExitStack() as stack:
        settings = {**SETTINGS, "DATABASE_URL": postgres_url, "QDRANT_URL": qdrant_url}
        starts: list[Start] = [
            partial(serve_process, disk_path, settings, port=port, workers=0),
            partial(command_process, disk_path, settings, "worker", name="worker-1"),
            partial(command_process, disk_path, settings, "worker", name="worker-2"),
        ]
        services = [stack.enter_context(Killable(start)) for start in starts]
        with producer.sending():
            for kill in range(KILLS):
                producer.allow(1 / (KILLS + 1))
                time.sleep(moment_s())
                services[kill % len(services)].restart()
            producer.finish()
        check(producer)
    for log in ("serve", "worker-1", "worker-2"):
        assert errors_in(disk_path / f"{log}.log") == []


class Killable:
    """A process that can be killed and restarted; ``start`` opens it."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._life = ExitStack()

    def __enter__(self) -> Self:
        self._life.enter_context(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()

    def restart(self) -> None:
        """``kill -9``, and start again."""
        self._life.close()
        self._life.enter_context(self._start())


def moment_s() -> float:
    """How long something may live."""
    return random.uniform(0.0, 1.0)  # noqa: S311 - a moment, no secret


@contextmanager
def killed_soon(kill: Callable[[], None]) -> Iterator[None]:
    """Kill at some moment, from another thread; at the end it has happened."""
    timer = threading.Timer(moment_s() / 2, kill)
    timer.start()
    yield
    timer.join()


def check(producer: Producer) -> None:
    """All that was accepted is there, once, and found."""
    with client_of(producer.url) as client:
        client.assert_holds(producer.ids.values())
        client.assert_finds(producer.ids, random.sample(range(EXTRACTIONS), 50))
