"""A key goes only to the address in the settings or from the operator, despite redirects."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from support.api import raw_item, serving
from support.embedding_stub import Answer, EmbeddingStub
from support.embedding_stub import serving as serving_embeddings
from support.parts import settings_for
from support.settings import enter_empty_place
from support.wheres import where_json
from typer.testing import CliRunner

from app.cli.context import CliContext
from app.cli.main import app as command_line
from app.cli.remote.connection import Connection, Patience, open_http_client
from app.entrypoints.cli import open_parts
from app.errors import EmbeddingError, ServiceError
from app.executor import BoundedExecutor, Lane
from app.intake.bounded_body import redirect_target
from app.services.embedding.connections import Connections
from app.services.embedding.openai import OpenAIEmbedder
from app.services.storage.qdrant.ports import ClientFailure
from app.settings.sections import EmbeddingSettings
from containers import create_container

DIMENSION = 8
KEY = "sk-0123456789-secret"
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    executor = BoundedExecutor(2)
    yield executor.lane("embedding", limit=2, max_waiting=10, wait_timeout_s=30)
    assert executor.close(30)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[EmbeddingStub]:
    """Where nothing is ever to arrive."""
    with serving_embeddings(DIMENSION) as stub:
        yield stub
        assert stub.asked == []


@pytest.fixture(scope="module")
def stub() -> Iterator[EmbeddingStub]:
    with serving_embeddings(DIMENSION) as stub:
        yield stub


@contextmanager
def redirecting(status: int, location: str) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that leads every request elsewhere, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("location", location)
            self.send_header("content-length", "0")
            self.end_headers()

        do_POST = do_PUT = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


# --- redirects ------------------------------------------------------------------------------------


async def refusal(stub: EmbeddingStub, lane: Lane, status: int, location: str) -> str:
    """What is said when the embedding endpoint leads there."""
    stub.script.append(Answer(status, b"", {"Location": location}))
    connections = Connections(SecretStr(KEY))
    settings = EmbeddingSettings(
        provider="openai",
        model="small",
        base_url=stub.base_url,
        dimension=DIMENSION,
        batch_size=8,
        timeout=20,
        retry_timeout=20,
    )
    embedder = OpenAIEmbedder(lane, connections, settings)
    with pytest.raises(EmbeddingError) as refused:
        await embedder.ping()
    connections.close()
    return str(refused.value)


@pytest.mark.parametrize("status", REDIRECTS)
async def test_the_embedding_endpoint_leads_nobody_elsewhere(
    stub: EmbeddingStub, elsewhere: EmbeddingStub, lane: Lane, status: int
) -> None:
    place = elsewhere.base_url.removesuffix("/v1")
    said = await refusal(stub, lane, status, f"{place}/v1/embeddings?api_key={KEY}")
    assert f"it leads to {place}, and redirects are not followed" in said
    assert KEY not in said


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("http://169.254.169.254/latest/meta-data/iam/", "http://169.254.169.254"),
        ("http://[fd00:ec2::254]/latest", "http://[fd00:ec2::254]"),
        ("https://10.0.0.1:8443/x", "https://10.0.0.1:8443"),
        ("//metadata.google.internal/x", "http://metadata.google.internal"),
        ("http://me:pass@localhost/", "http://localhost"),
        (f"http://{KEY}/", "elsewhere"),
        ("/v2/embeddings", "another path on the same server"),
        ("v2/embeddings?key=x", "another path on the same server"),
        ("file:///etc/passwd", "an invalid address"),
        ("mailto:me@localhost", "an invalid address"),
        ("//@/x", "an invalid address"),
        ("http://[::1", "an invalid address"),
        ("", "an invalid address"),
    ],
)
async def test_where_it_leads_is_named_and_no_more_of_it(
    stub: EmbeddingStub, lane: Lane, location: str, named: str
) -> None:
    said = await refusal(stub, lane, 307, location)
    assert f"it leads to {named}, and redirects are not followed" in said
    assert KEY not in said
    assert "pass@" not in said


@given(st.text())
def test_whatever_a_redirect_says_can_be_named(location: str) -> None:
    assert redirect_target(location).isprintable()


@pytest.mark.parametrize("status", REDIRECTS)
def test_qdrant_leads_nobody_elsewhere(elsewhere: EmbeddingStub, tmp_path: Path, status: int) -> None:
    with redirecting(status, elsewhere.base_url) as (url, asked):
        settings = settings_for(tmp_path, qdrant={"url": url, "api_key": KEY})
        container = create_container(settings)
        with pytest.warns(UserWarning, match="insecure connection"), pytest.raises(ClientFailure) as refused:
            container.qdrant_client().ping()
        container.shutdown_resources()
    assert len(asked) == 1
    assert str(status) in refused.value.reason
    assert not refused.value.transient


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_service_leads_the_command_line_nowhere(
    elsewhere: EmbeddingStub, lane: Lane, status: int
) -> None:
    with redirecting(status, f"{elsewhere.base_url}/x?key=1") as (url, asked), open_http_client(KEY) as client:
        service = Connection(url, client, lane, Patience())
        for ask in (service.get, service.post):
            with pytest.raises(ServiceError) as refused:
                await ask("/v1/jobs")
            said = str(refused.value)
            assert f"leads to {elsewhere.base_url.removesuffix('/v1')}, and redirects are not followed" in said
            assert KEY not in said
    assert len(asked) == 2


# --- nothing a caller sends chooses an address ----------------------------------------------------


@pytest.mark.slow
async def test_no_request_chooses_where_the_service_asks(
    stub: EmbeddingStub, elsewhere: EmbeddingStub, tmp_path: Path
) -> None:
    lure = elsewhere.base_url
    embedding = {
        "provider": "openai",
        "model": "small",
        "dimension": DIMENSION,
        "base_url": stub.base_url,
        "api_key": KEY,
    }
    names = ("url", "base_url", "endpoint", "host", "model", "embedding", "proxy", "webhook", "callback_url")
    headers = dict.fromkeys(
        ("x-forwarded-host", "forwarded", "x-original-url", "x-rewrite-url", "proxy", "referer", "origin"), lure
    )
    stub.asked.clear()
    # Without a key a foreign origin is refused.
    sections = {"embedding": embedding, "api": {"api_keys": ["a-key-of-16-letters"]}}
    async with serving(tmp_path, sections=sections) as api:
        api.client.headers.update({**headers, "x-api-key": "a-key-of-16-letters"})
        data = {"fact_text": lure, **dict.fromkeys(names, lure)}
        await api.accepted([raw_item(1, source_uri=lure, source_group=lure, extraction_type=lure, data=data)])
        await api.work()
        for body in ({"query": lure}, {"query": lure, "where": where_json(dict.fromkeys(names, lure))}):
            assert await api.post("/v1/projects/papers/search", body)
        for name in names:
            for body in ({"query": "x", name: lure}, {"query": "x", "options": {name: lure}}):
                assert (await api.client.post("/v1/projects/papers/search", json=body)).status_code == 422
            answer = await api.client.get("/v1/projects/papers/extractions", params={name: lure})
            assert answer.status_code == 422
        for path in (f"/{lure}", f"//{lure.removeprefix('http://')}/", "/v1/projects/http:%2F%2Fx/search"):
            assert (await api.client.post(path, json={"query": "x"})).status_code in {404, 422}
        raw = await api.raw(
            f"GET {lure}/x HTTP/1.1\r\nhost: localhost\r\nx-api-key: a-key-of-16-letters\r\n\r\n".encode()
        )
        assert b" 404 " in raw.splitlines()[0]
    assert {asked.path for asked in stub.asked} == {"/v1/embeddings"}
    assert {name for asked in stub.asked for name in asked.body} == {"model", "input", "encoding_format"}
    assert {asked.body["model"] for asked in stub.asked} == {"small"}


def test_what_a_command_reads_chooses_no_address(
    stub: EmbeddingStub, elsewhere: EmbeddingStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_empty_place(tmp_path, monkeypatch)
    settings = {
        "EMBEDDING_PROVIDER": "openai",
        "EMBEDDING_MODEL": "small",
        "EMBEDDING_DIMENSION": str(DIMENSION),
        "EMBEDDING_BASE_URL": stub.base_url,
        "EMBEDDING_API_KEY": KEY,
        "QDRANT_MODE": "memory",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    lure = elsewhere.base_url
    data = {"text": lure, "base_url": lure}
    (tmp_path / "in").write_bytes(orjson.dumps({"source_uri": lure, "extraction_type": "fact", "data": data}))
    context = CliContext(None, open_parts, str, lambda *_: None, lambda *_: None)
    done = CliRunner().invoke(command_line, ["ingest", "in", "--project", "a"], obj=context)
    assert done.exit_code == 0, done.output
    assert stub.asked[-1].texts == [lure]
