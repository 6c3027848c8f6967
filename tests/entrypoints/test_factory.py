"""``container.factory``: every command and service runs with the user's container."""

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from dependency_injector import providers
from support.cli import MODULE, ROOT, Cli, environment
from support.forked import Process
from support.forkserver import Program
from support.loopback import TLS
from support.parts import settings_for
from support.processes import end, free_port

from app.config import Settings, load_settings
from app.entrypoints.factory import container_of
from app.errors import ConfigurationError
from app.services.embedding.embedder import EmbedderIdentity
from containers import Container, create_container

TRIGRAMS = "examples.extending.embedder:container_with_trigrams"
FACT = b'{"source_uri": "doc", "extraction_type": "fact", "data": {"text": "The bridge was closed"}}\n'


def broken(_: Settings) -> Container:
    raise KeyError("model")


def not_a_container(_: Settings) -> Any:
    return {}


class Pingless:
    """An embedder that was written before embedders had ``ping``."""

    identity = EmbedderIdentity("own", "1", 4)
    languages = None

    async def embed(self, texts: Sequence[str], role: str = "passage") -> Any:
        raise NotImplementedError


def with_a_pingless_embedder(settings: Settings) -> Container:
    return create_container(settings, embedder=Pingless())


def overridden_by_a_pingless_embedder(settings: Settings) -> Container:
    container = create_container(settings)
    container.override_providers(embedder=providers.Singleton(Pingless))
    return container


@pytest.mark.parametrize("make", [with_a_pingless_embedder, overridden_by_a_pingless_embedder])
def test_an_embedder_without_a_method_is_named_with_its_protocol(tmp_path: Path, make: Any) -> None:
    Cli(tmp_path)("ingest", "-", "--project", "p", stdin=FACT)
    own = Cli(tmp_path, CONTAINER_FACTORY=f"entrypoints.test_factory:{make.__name__}")
    own.environment["PYTHONPATH"] += f":{ROOT / 'tests'}"
    for command in ("doctor", "verify", "ingest"):
        arguments = ("ingest", "-", "--project", "p") if command == "ingest" else (command,)
        done = own(*arguments, stdin=FACT, code=1)
        told = " ".join((done.stdout + done.stderr).decode().replace("│", " ").split())
        assert "can't be the container's embedder: it has no ping." in told
        assert "docs/extending/embedder.md" in told


def test_commands_run_with_it(tmp_path: Path) -> None:
    plain, own = Cli(tmp_path), Cli(tmp_path, CONTAINER_FACTORY=TRIGRAMS)
    plain("ingest", "-", "--project", "p", stdin=FACT)
    refused = own("search", "bridge", "--project", "p", "--mode", "meaning", code=1).stderr.decode()
    assert "made by deterministic" in refused
    assert "agent-storage reindex" in refused
    own("reindex")
    [hit] = own.hits("teh brigde was close", "--project", "p", "--mode", "meaning")
    assert hit["score"] > 0.3
    own("verify")
    refused = plain("search", "bridge", "--project", "p", "--mode", "meaning", code=1).stderr.decode()
    assert "container.factory" in refused


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_services_run_with_it(tmp_path: Path, command: str) -> None:
    (tmp_path / "config.yml").write_text(f"container: {TRIGRAMS}\n")
    Cli(tmp_path)("ingest", "-", "--project", "p", stdin=FACT)
    port = str(free_port())
    program = Program(MODULE, [command], tmp_path, environment(API_PORT=port, WORKER_PORT=port))
    with (tmp_path / "log").open("wb") as log:
        process = Process(program, stderr=log)
    try:
        assert is_ready(port), (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        end(process)
    refused = Cli(tmp_path, CONTAINER_FACTORY=f"{__name__}:none")("verify", code=1)
    assert b"container.factory" in refused.stderr


def is_ready(port: str) -> bool:
    deadline = time.monotonic() + 60
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=TLS) as client:
        while time.monotonic() < deadline:
            with suppress(httpx2.TransportError):
                if client.get("/health/ready").status_code == 200:
                    return True
            time.sleep(0.02)
    return False


def test_null_is_the_packages_own(tmp_path: Path) -> None:
    assert container_of(settings_for(tmp_path)).declarative_parent is Container


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("no_such_package.wiring:create", "No module named 'no_such_package'; its module must be installed"),
        ("app.config:no_such", r"has no attribute 'no_such'\n"),
        (f"{__name__}:broken", r"KeyError: 'model' \(.*test_factory\.py:\d+\)"),
        (f"{__name__}:not_a_container", r"it returned \{\}, which has no provider"),
    ],
)
def test_what_makes_no_container_is_refused(tmp_path: Path, factory: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"container.factory = .*{told}"):
        container_of(settings_for(tmp_path, container={"factory": factory}))


@pytest.mark.parametrize("given", ["wiring", "a.b:c.d", "a b:c", ":create", "wiring:"])
def test_it_is_a_module_and_a_name(tmp_path: Path, given: str) -> None:
    (tmp_path / "c.yml").write_text(f"container: '{given}'\n")
    with pytest.raises(ConfigurationError, match=r"container.factory = .*mypackage.wiring:create"):
        load_settings(tmp_path / "c.yml")
