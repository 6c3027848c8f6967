"""The service's keys are compared in constant time, and aren't kept anywhere."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, cast

import httpx2
import pytest
from sqlalchemy import select
from starlette.types import Receive, Scope, Send
from support.api import raw_item
from support.loopback import TLS
from support.postgres import open_test_engine
from support.processes import Service, errors_in, serve_process

from app.api.keys import KeyMiddleware, is_a_key
from app.models import Base

pytestmark = pytest.mark.slow

KEYS = ("first-key-0123456789", "second-key-9876543210", "third-key-of-16-letters")
KEY = "k3yK3yk3y.0123456789"
OTHER = "0ther-key.0123456789"


# --- how they are compared ------------------------------------------------------------------------


class Wary(str):
    """A key that only gives its bytes: comparing one by ``==`` or ``in`` fails."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a key was compared by ==")

    def __hash__(self) -> int:
        raise AssertionError("a key was looked up")

    def encode(self, *_: object) -> bytes:
        return WaryBytes(str.encode(self))


class WaryBytes(bytes):
    __slots__ = ()
    __eq__ = Wary.__eq__
    __hash__ = Wary.__hash__

    def startswith(self, *_: object) -> bool:
        raise AssertionError("a key was compared by its beginning")


def compared(given: bytes) -> tuple[bool, list[str]]:
    """Whether it is one of ``KEYS``, and the functions in C that were called to find out."""
    called: list[str] = []

    def note(_frame: FrameType, what: str, function: Any) -> None:
        if what == "c_call":
            called.append(function.__name__)

    keys = tuple(Wary(key) for key in KEYS)
    sys.setprofile(note)
    try:
        fits = is_a_key(given, keys)
    finally:
        sys.setprofile(None)
    return fits, [name for name in called if name != "setprofile"]


def test_every_key_is_compared_by_all_of_it_whichever_fits() -> None:
    """The executed code is the same for every input; only ``compare_digest`` could take longer."""
    fitting = [compared(key.encode()) for key in KEYS]
    wrong = [
        compared(given) for given in (b"", b"f", KEYS[0][:-1].encode(), KEYS[0].encode() + b"x", bytes(999))
    ]
    assert [fits for fits, _ in fitting] == [True] * 3
    assert [fits for fits, _ in wrong] == [False] * 5
    ways = {tuple(called) for _, called in [*fitting, *wrong]}
    assert len(ways) == 1
    [way] = ways
    assert way.count("compare_digest") == len(KEYS)


@pytest.mark.parametrize("header", [b"x-api-key", b"authorization"])
async def test_a_request_is_let_in_by_that_comparison_alone(header: bytes) -> None:
    let_in: list[str] = []
    told: list[int] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        let_in.append(scope["path"])

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        told.extend([message["status"]] if "status" in message else [])

    guarded = KeyMiddleware(app, tuple(Wary(key) for key in KEYS), "127.0.0.1")
    prefix = b"Bearer " if header == b"authorization" else b""
    for key in (*KEYS, "wrong"):
        scope = {
            "type": "http",
            "path": f"/{key}",
            "method": "GET",
            "headers": [(header, prefix + key.encode())],
        }
        await guarded(scope, cast(Receive, receive), send)
    assert let_in == [f"/{key}" for key in KEYS]
    assert told == [401]


# --- where they are kept --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    settings = {
        "API_API_KEYS": f"{KEY},{OTHER}",
        "LOGGING_LEVEL": "DEBUG",
        "QDRANT_MODE": "memory",
        "DATABASE_URL": f"sqlite:///{folder / 'kept.db'}",
    }
    with serve_process(folder, settings) as service:
        yield service


def stored(folder: Path) -> str:
    engine = open_test_engine(f"sqlite:///{folder / 'kept.db'}")
    with engine.connect() as connection:
        rows = [str(row) for table in Base.metadata.sorted_tables for row in connection.execute(select(table))]
    engine.dispose()
    return "\n".join(rows)


WRONG_PLACES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", f"/v1/projects?api_key={KEY}", {}),
    ("GET", f"/v1/jobs?cursor={KEY}&x-api-key={KEY}", {"headers": {"x-api-key": OTHER}}),
    ("GET", f"/v1/jobs?limit={KEY}", {"headers": {"x-api-key": OTHER}}),
    ("GET", f"/v1/jobs?status={KEY}", {"headers": {"x-api-key": OTHER}}),
    ("GET", f"/{KEY}", {}),
    ("GET", f"/v1/{KEY}", {"headers": {"x-api-key": OTHER}}),
    ("GET", f"/metrics#{KEY}", {"headers": {"referer": f"http://x/{KEY}"}}),
    ("GET", "/v1/projects", {"headers": {"authorization": KEY}}),
    ("GET", "/v1/projects", {"headers": {"authorization": f"Basic {KEY}"}}),
    ("GET", "/v1/projects", {"headers": {"authorization": f"Bearer: {KEY}"}}),
    ("GET", "/v1/projects", {"headers": {"authorization": f"Bearer {KEY} {KEY}"}}),
    ("GET", "/v1/projects", {"headers": {"api-key": KEY, "cookie": f"key={KEY}", "user-agent": KEY}}),
    ("GET", "/v1/projects", {"headers": {"x-api-key": KEY, "x-request-id": KEY}}),
    ("GET", "/health/live", {"headers": {"x-request-id": KEY}}),
    ("POST", "/v1/projects", {"headers": {"x-api-key": KEY, "content-type": KEY}, "content": b"{}"}),
    ("POST", "/v1/projects", {"headers": {"x-api-key": KEY, "content-encoding": KEY}, "content": b"{}"}),
    (
        "POST",
        "/v1/projects/papers/extractions",
        {"headers": {"x-api-key": KEY, "idempotency-key": KEY}, "json": {"extractions": [raw_item(1)]}},
    ),
]


@pytest.mark.parametrize(("method", "url", "sent"), WRONG_PLACES, ids=lambda value: str(value)[:70])
def test_no_answer_repeats_a_key(service: Service, method: str, url: str, sent: dict[str, Any]) -> None:
    with httpx2.Client(base_url=service.url, trust_env=False, verify=TLS) as client:
        answer = client.request(method, url, **sent)
    assert answer.status_code < 500
    assert KEY not in answer.text + str(answer.headers)


def test_a_key_stands_in_no_log_no_metric_and_no_table(service: Service, folder: Path) -> None:
    malformed = (
        f"GET /v1/projects HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\x01\r\n\r\n",
        f"GET /v1/projects HTTP/1.1\r\nhost: x\r\nx-api-key {KEY}\r\n\r\n",
        f"{KEY} /v1/projects HTTP/1.1\r\nhost: x\r\n\r\n",
        f"GET /v1/projects {KEY}\r\nhost: x\r\n\r\n",
        f"GET /v1/projects HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n folded\r\ncontent-length: {KEY}\r\n\r\n",
        f"{KEY}\r\n\r\n",
    )
    host, port = service.url.removeprefix("http://").split(":")
    for request in malformed:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(request.encode("latin-1"))
            assert KEY.encode() not in connection.recv(65_536)
    with httpx2.Client(base_url=service.url, trust_env=False, headers={"x-api-key": KEY}, verify=TLS) as client:
        for method, url, sent in WRONG_PLACES:
            client.request(method, url, **sent)
        answer = client.post("/v1/projects/papers/extractions", json={"extractions": [raw_item(2)]})
        assert answer.status_code == 202
        metrics = client.get("/metrics").text
        jobs = client.get("/v1/jobs").text
    log = service.log.read_text()
    assert log.count('"request"') > len(WRONG_PLACES)
    for kept in (log, metrics, jobs, stored(folder)):
        for key in (KEY, OTHER):
            assert key not in kept
    assert errors_in(service.log) == []
    assert all(json.loads(line) for line in log.splitlines())
