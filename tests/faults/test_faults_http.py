"""Clients that leave: whenever they do, nothing of theirs is left behind."""

import asyncio
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx2
import pytest
from sqlalchemy.pool import QueuePool
from support.http_service import serving
from support.jobs import statuses
from support.loopback import TLS
from support.parts import settings_for
from support.service_client import raw_item, text_of
from support.waiting import until

from app.api.app import create_app
from app.config import Settings
from app.entrypoints.api import options_of
from app.entrypoints.service import listen
from containers import Container, create_container, running

pytestmark = pytest.mark.slow

CUT = 1_000
AT_ONCE = 50
MOST_S = 0.5
"""Long enough for some of the requests to be answered."""


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_for(tmp_path, "embedded", database={"url": database_url}, worker={"batch_size": 50})


@pytest.fixture
def container(settings: Settings) -> Iterator[Container]:
    with running(create_container(settings)) as container:
        yield container


def request(number: int) -> tuple[str, str, bytes]:
    """Method, path and body of a request: in turn an ingest, a search and a list."""
    match number % 3:
        case 0:
            items = [raw_item(each) for each in range(number * 20, number * 20 + 20)]
            return "POST", "/v1/projects/papers/extractions", json.dumps({"extractions": items}).encode()
        case 1:
            return "POST", "/v1/projects/papers/search", json.dumps({"query": text_of(number)}).encode()
        case _:
            return "GET", "/v1/projects/papers/extractions?limit=1000&where=fact_text=x", b""


async def cut_at_some_moment(address: tuple[str, int], number: int) -> None:
    """Send a request, all of it or a part, wait a little, and reset the connection."""
    method, path, body = request(number)
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    message = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    sent = len(message) if random.random() < 0.7 else random.randrange(len(message))  # noqa: S311 - no secret
    _, writer = await asyncio.open_connection(*address)
    writer.write(message[:sent])
    await asyncio.sleep(random.uniform(0.0, MOST_S))  # noqa: S311 - likewise
    writer.transport.abort()


async def cancel_at_some_moment(client: httpx2.AsyncClient, number: int) -> bool:
    """Cancel the very task that serves a request; whether it came too late."""
    method, path, body = request(number)
    headers = {"content-type": "application/json"}
    asking = asyncio.create_task(client.request(method, path, content=body, headers=headers))
    await asyncio.wait((asking,), timeout=random.uniform(0.0, MOST_S))  # noqa: S311 - likewise
    asking.cancel()
    return not isinstance((await asyncio.gather(asking, return_exceptions=True))[0], asyncio.CancelledError)


def is_idle(container: Container) -> bool:
    """Whether no connection is out and no lane has a caller, running or waiting."""
    pool = cast(QueuePool, container.engine().pool)
    lanes = container.executor().stats()
    return pool.checkedout() == 0 and not any(lane.active or lane.waiting for lane in lanes)


async def assert_whole(container: Container) -> None:
    """Nothing is held, and once the jobs have run the stores agree."""
    engine = container.engine()
    await until(lambda: not statuses(engine).keys() - {"completed"})
    await until(lambda: is_idle(container))
    found = [state async for state in container.reconciliation().run()][-1]
    assert found.remaining == 0, found
    assert found.extractions == found.points > 0


async def test_1000_requests_whose_clients_leave(container: Container, settings: Settings) -> None:
    async with serving(container, settings) as address:
        for start in range(0, CUT, AT_ONCE):
            await asyncio.gather(*(cut_at_some_moment(address, start + each) for each in range(AT_ONCE)))
        await assert_whole(container)


async def test_1000_requests_cancelled_where_they_are(container: Container, settings: Settings) -> None:
    app = create_app(container, options_of(settings))
    answered = 0
    async with (
        serving(container, settings),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://localhost", verify=TLS
        ) as client,
    ):
        for start in range(0, CUT, AT_ONCE):
            late = await asyncio.gather(
                *(cancel_at_some_moment(client, start + each) for each in range(AT_ONCE))
            )
            answered += sum(late)
        assert 0 < answered < CUT
        await assert_whole(container)


def test_answers_don_t_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
