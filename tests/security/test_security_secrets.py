"""No failure reveals a secret of the settings: commands and a service as processes, at DEBUG."""

import base64
import io
import logging
import os
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from support.api import raw_item
from support.cli import Cli
from support.embedding_stub import Answer, EmbeddingStub, error_answer
from support.embedding_stub import serving as serving_embeddings
from support.forked import Process
from support.logs import logging_as_before
from support.loopback import TLS
from support.processes import free_port, serve_process
from support.qdrant_stub import Fault, QdrantStub
from support.settings import SECRET, SECRETS
from support.waiting import wait_for

from app.config import Settings
from app.entrypoints.api import options_of
from app.logs import configure_logging
from containers import create_container

pytestmark = pytest.mark.slow

HIDDEN = "S3cr3t"
"""Stands in each secret, so that any of them would be seen."""

DATABASE, QDRANT, EMBEDDING, API = (f"{name}{HIDDEN}0123456789" for name in ("db", "qd", "em", "ap"))
IN_USERINFO = f"me:userinfo{HIDDEN}"
AS_BASIC = base64.b64encode(IN_USERINFO.encode()).decode()
QUICK = {
    "LOGGING_LEVEL": "DEBUG",
    "API_API_KEYS": API,
    "EMBEDDING_PROVIDER": "openai",
    "EMBEDDING_MODEL": "small",
    "EMBEDDING_DIMENSION": "8",
    "QDRANT_TIMEOUT": "1",
    **dict.fromkeys(("QDRANT_RETRY_TIMEOUT", "EMBEDDING_TIMEOUT", "EMBEDDING_RETRY_TIMEOUT"), "1.5"),
}


def assert_hides(*texts: str) -> None:
    for text in texts:
        assert HIDDEN not in text, text
        assert AS_BASIC not in text, text


# --- servers that refuse --------------------------------------------------------------------------


class Refusing(socketserver.BaseRequestHandler):
    """PostgreSQL's protocol without TLS, up to the error for a wrong password."""

    def handle(self) -> None:
        length = 0
        while len(head := self.request.recv(8)) == 8:
            length, code = struct.unpack("!II", head)
            if code not in {80877103, 80877104}:  # the wishes for TLS and for GSS
                break
            self.request.sendall(b"N")
        else:
            return
        self.request.recv(length)
        self.request.sendall(b"R" + struct.pack("!II", 8, 3))
        self.request.recv(1_024)
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
        self.request.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)


@contextmanager
def refusing_postgres() -> Iterator[int]:
    """The port of a database that knows no password."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def postgres_port() -> Iterator[int]:
    with refusing_postgres() as port:
        yield port


def echoing(stub: EmbeddingStub) -> None:
    """Let it refuse every key, and repeat it."""
    stub.judge = lambda asked: error_answer(401, f"wrong key: {asked.headers.get('Authorization')}")


@pytest.fixture(scope="module")
def embeddings() -> Iterator[EmbeddingStub]:
    with serving_embeddings(8) as stub:
        echoing(stub)
        yield stub


@pytest.fixture(scope="module")
def qdrant() -> Iterator[QdrantStub]:
    with QdrantStub(always=Fault(status=401)) as stub:
        yield stub


# --- commands -------------------------------------------------------------------------------------


def scenes(postgres: int, embeddings: EmbeddingStub, qdrant: QdrantStub) -> dict[str, Mapping[str, str]]:
    """What fails, by its name: the settings under which every part fails in one way."""
    nobody = free_port()
    user = f"postgresql://me:{DATABASE}@127.0.0.1"
    qdrant_port = qdrant.url.rpartition(":")[2]
    embedding_port = embeddings.base_url.removesuffix("/v1").rpartition(":")[2]
    return {
        "nobody listens": {
            "DATABASE_URL": f"{user}:{nobody}/x?sslpassword={DATABASE}",
            "QDRANT_URL": f"http://{IN_USERINFO}@127.0.0.1:{nobody}",
            "QDRANT_API_KEY": QDRANT,
            "EMBEDDING_BASE_URL": f"http://127.0.0.1:{nobody}/v1?api_key={EMBEDDING}",
            "EMBEDDING_API_KEY": EMBEDDING,
        },
        "refused": {
            "DATABASE_URL": f"{user}:{postgres}/x",
            "QDRANT_URL": qdrant.url,
            "QDRANT_API_KEY": QDRANT,
            "EMBEDDING_BASE_URL": embeddings.base_url,
            "EMBEDDING_API_KEY": EMBEDDING,
        },
        "no header": {
            "DATABASE_URL": f"{user}:{postgres}/x",
            "PGPASSFILE": "/nowhere",
            "QDRANT_URL": f"http://{IN_USERINFO}@127.0.0.1:{qdrant_port}",
            "QDRANT_API_KEY": f"{QDRANT}\x01{QDRANT}",
            "EMBEDDING_BASE_URL": f"http://{IN_USERINFO}@127.0.0.1:{embedding_port}/v1",
            "EMBEDDING_API_KEY": f"{EMBEDDING}ü\n{EMBEDDING}",
        },
        "no TLS": {
            "DATABASE_URL": f"{user}:{postgres}/x?sslmode=require",
            "QDRANT_URL": f"https://127.0.0.1:{qdrant_port}",
            "QDRANT_API_KEY": QDRANT,
            "EMBEDDING_BASE_URL": f"https://{IN_USERINFO}@127.0.0.1:{embedding_port}/v1",
            "EMBEDDING_API_KEY": EMBEDDING,
        },
        "no sense": {
            "DATABASE_URL": f"postgresql://me:{DATABASE}@127.0.0.1:port/x",
            "QDRANT_URL": f"qdrant://{IN_USERINFO}@127.0.0.1:99999999/?api_key={QDRANT}",
            "QDRANT_API_KEY": f" {QDRANT} ",
            "EMBEDDING_BASE_URL": f"http://{IN_USERINFO}@/v1?api_key={EMBEDDING}",
            "EMBEDDING_API_KEY": EMBEDDING,
            "API_KEYS": API,
            "DATABASE_PASSWORD": DATABASE,
        },
    }


RUNS = [
    *((scene, "doctor") for scene in ("nobody listens", "refused", "no header", "no TLS")),
    ("nobody listens", "search"),
    ("no sense", "search"),
]
ARGUMENTS = {"doctor": ["doctor"], "search": ["search", "x", "--project", "p"]}


@pytest.fixture(scope="module")
def said(
    tmp_path_factory: pytest.TempPathFactory, postgres_port: int, embeddings: EmbeddingStub, qdrant: QdrantStub
) -> dict[tuple[str, str], tuple[int, str]]:
    """The exit code and the output of each command in each scene. They run concurrently."""
    found = scenes(postgres_port, embeddings, qdrant)
    started: dict[tuple[str, str], Process] = {}
    for scene, command in RUNS:
        cli = Cli(tmp_path_factory.mktemp("scene"), **QUICK, **found[scene])
        started[scene, command] = cli.start(*ARGUMENTS[command])
    ended: dict[tuple[str, str], tuple[int, str]] = {}
    for key, process in started.items():
        out, err = process.communicate(timeout=120)
        ended[key] = process.wait(), (out + err).decode()
    return ended


@pytest.mark.parametrize(("scene", "command"), RUNS)
def test_a_command_that_fails_hides_every_secret(
    said: dict[tuple[str, str], tuple[int, str]], scene: str, command: str
) -> None:
    code, printed = said[scene, command]
    assert code == 1, printed
    assert "Traceback" not in printed
    assert "rror" in printed or "✗" in printed or "FAIL" in printed.upper(), printed
    assert_hides(printed)


# --- a service ------------------------------------------------------------------------------------


def test_a_service_whose_parts_refuse_hides_every_secret(tmp_path: Path) -> None:
    with serving_embeddings(8) as embeddings, QdrantStub() as qdrant:
        settings = {
            **QUICK,
            "DATABASE_URL": f"sqlite:///{tmp_path / 'x.db'}",
            "QDRANT_URL": qdrant.url.replace("//", f"//{IN_USERINFO}@"),
            "QDRANT_API_KEY": QDRANT,
            "EMBEDDING_BASE_URL": f"{embeddings.base_url.replace('//', f'//{IN_USERINFO}@')}",
            "EMBEDDING_API_KEY": EMBEDDING,
            "WORKER_RETRY_DELAY": "0.05",
            "WORKER_MAX_ATTEMPTS": "2",
        }
        with serve_process(tmp_path, settings) as service, _client(service.url) as client:
            wait_for(lambda: client.get("/health/ready").is_success)
            echoing(embeddings)
            answers = [_handed_in(client, 1), client.post("/v1/projects/papers/search", json={"query": "x"})]
            wait_for(lambda: '"failed"' in client.get("/v1/jobs").text)
            embeddings.judge = lambda _: None
            qdrant.always = Fault(status=401)
            answers += [_handed_in(client, 2), client.post("/v1/projects/papers/search", json={"query": "x"})]
            wait_for(lambda: client.get("/v1/jobs").text.count('"failed"') == 2)
            embeddings.judge = lambda _: Answer(hang_up=True)
            answers += [client.post("/v1/projects/papers/search", json={"query": "x"})]
            answers += [client.get(path) for path in ("/v1/jobs", "/metrics", "/health/ready", "/openapi.json")]
        log = service.log.read_text()
    assert "401" in log
    assert_hides(log, *(answer.text + str(answer.headers) for answer in answers))


@contextmanager
def _client(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=url, headers={"x-api-key": API}, timeout=60, trust_env=False, verify=TLS
    ) as client:
        yield client


def _handed_in(client: httpx2.Client, number: int) -> httpx2.Response:
    answer = client.post("/v1/projects/papers/extractions", json={"extractions": [raw_item(number)]})
    assert answer.status_code == 202
    return answer


# --- in the process -------------------------------------------------------------------------------


def test_no_part_shows_a_secret_in_its_repr(tmp_path: Path) -> None:
    embedding = {**SECRETS["embedding"], "provider": "openai", "model": "m", "dimension": 8}
    settings = Settings.model_validate({**SECRETS, "embedding": embedding})
    options = options_of(settings)
    assert SECRET in options.api_keys[0]
    database = {"url": f"sqlite:///{tmp_path / 'x.db'}"}
    container = create_container(
        Settings.model_validate({**SECRETS, "embedding": embedding, "database": database})
    )
    parts = [container.providers[name]() for name in ("embedder", "search", "qdrant_client", "worker")]
    shown = repr([options, container, container.config, container.embedding_connections(), *parts])
    container.shutdown_resources()
    assert SECRET not in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_traceback_shows_no_variable(stream: type[io.StringIO]) -> None:
    written = stream()

    def break_with(local: str) -> None:
        another = {"given": local, "length": len(local)}
        raise RuntimeError(f"broken after {another['length']}")

    with logging_as_before():
        configure_logging("DEBUG", stream=written)
        try:
            break_with(f"{HIDDEN}{os.sep}")
        except RuntimeError:
            logging.getLogger("app.test").exception("failed")
    assert "RuntimeError: broken after 7" in written.getvalue()
    assert HIDDEN not in written.getvalue()
