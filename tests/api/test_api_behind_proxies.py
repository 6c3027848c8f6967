"""The API behind proxies that strip prefixes and check its health, with browsers and over IPv6."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.api import Api, raw_item, serving
from support.processes import serve_process

from app.api.routes.docs import PATHS
from app.entrypoints.service import listen

KEY = "a-key-of-24-characters-or-so"
PAGE = "https://app.example.org"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def test_health_and_metrics_answer_head(api: Api) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        answer = await api.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    document = await api.get("/openapi.json")
    assert "head" not in document["paths"]["/health/live"]


async def test_a_worker_alone_answers_head_too(tmp_path: Path) -> None:
    async with serving(tmp_path, status_only=True) as api:
        for path in ("/health/live", "/metrics"):
            assert (await api.client.head(path)).status_code == 200
        page = (await api.client.get("/docs")).text
        assert "://" not in page.replace("http://www.w3.org", "")


async def test_the_documentation_needs_no_other_host(api: Api) -> None:
    page = (await api.client.get("/docs")).text
    assert "://" not in page.replace("http://www.w3.org", "")
    for path in PATHS - {"/docs"}:
        assert f'"{path}"' in page
        found = await api.client.get(path)
        assert (found.status_code, len(found.content) > 1_000) == (200, True)
    assert (await api.client.get("/docs/other.js")).status_code == 404


async def test_a_stripped_prefix_is_in_every_link(tmp_path: Path) -> None:
    async with serving(tmp_path, sections={"api": {"root_path": "/storage"}}) as api:
        page = (await api.client.get("/docs")).text
        assert '"/storage/openapi.json"' in page.replace("'", '"')
        for path in PATHS - {"/docs"}:
            assert f'"/storage{path}"' in page
        assert (await api.get("/openapi.json"))["servers"] == [{"url": "/storage"}]
        await api.hand_in([raw_item(1)])
        assert (await api.get("/v1/projects"))["items"]
        for path in ("/health/live", "/docs", "/v1/projects"):
            assert (await api.client.get(f"/storage{path}")).status_code == 200
        assert (await api.client.get("/storage")).status_code == 404
        assert (await api.client.get("/storagehealth/live")).status_code == 404
        for path in ("/storage/v1/project", "/v1/project"):
            told = (await api.client.get(path)).json()["detail"]
            assert "did you mean /storage/v1/projects? GET /storage/openapi.json lists" in told


async def test_events_are_not_held_back_by_a_proxy(api: Api) -> None:
    await api.hand_in([raw_item(1)], project="papers")
    headers = {"accept": "text/event-stream"}
    async with api.client.stream("GET", "/v1/projects/papers/changes", headers=headers) as stream:
        assert stream.headers["x-accel-buffering"] == "no"


class TestBrowsers:
    async def test_pages_of_named_origins_may_use_it(self, tmp_path: Path) -> None:
        sections = {"api": {"cors_origins": [PAGE], "api_keys": [KEY]}}
        async with serving(tmp_path, sections=sections) as api:
            asks = {
                "origin": PAGE,
                "access-control-request-method": "POST",
                "access-control-request-headers": "x-api-key",
            }
            allowed = await api.client.options("/v1/projects", headers=asks)
            assert allowed.status_code == 200
            assert allowed.headers["access-control-allow-origin"] == PAGE
            found = await api.client.get("/v1/projects", headers={"origin": PAGE, "x-api-key": KEY})
            assert found.status_code == 200
            assert found.headers["access-control-allow-origin"] == PAGE
            assert "x-next-cursor" in found.headers["access-control-expose-headers"]
            without = await api.client.get("/v1/projects", headers={"origin": PAGE})
            assert (without.status_code, without.headers["access-control-allow-origin"]) == (401, PAGE)
            other = await api.client.options(
                "/v1/projects", headers={**asks, "origin": "https://other.example"}
            )
            assert "access-control-allow-origin" not in other.headers

    async def test_without_keys_only_those_are_let_in(self, tmp_path: Path) -> None:
        async with serving(tmp_path, sections={"api": {"cors_origins": [PAGE]}}) as api:
            for origin, status in ((PAGE, 200), ("https://other.example", 403)):
                assert (await api.client.get("/v1/projects", headers={"origin": origin})).status_code == status
            rebound = {"origin": PAGE, "host": "evil.example"}
            assert (await api.client.get("/v1/projects", headers=rebound)).status_code == 403

    async def test_nobody_is_told_of_origins_by_default(self, api: Api) -> None:
        answer = await api.client.options("/v1/projects", headers={"origin": PAGE})
        assert "access-control-allow-origin" not in answer.headers


@pytest.fixture
def everywhere() -> Iterator[socket.socket]:
    if not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6 on this machine")
    with listen("::", 0) as listening:
        yield listening


def test_the_unspecified_address_is_of_both_families(everywhere: socket.socket) -> None:
    port = everywhere.getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), timeout=5):
            pass


@pytest.mark.slow
@pytest.mark.parametrize(("set_s", "closed"), [("0.5", True), ("60", False)])
def test_connections_are_kept_as_long_as_is_set(tmp_path: Path, set_s: str, closed: bool) -> None:
    with serve_process(tmp_path, {"API_KEEP_ALIVE": set_s}) as service:
        host, _, port = service.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(4096)
            assert b" 200 " in answer
            connection.settimeout(3)
            try:
                assert connection.recv(4096) == b""
                assert closed
            except TimeoutError:
                assert not closed
