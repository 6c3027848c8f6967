"""A real Qdrant server for the tests.

``TEST_QDRANT_URL`` is the URL of a running one, with its gRPC port in ``TEST_QDRANT_GRPC_PORT``.
``TEST_QDRANT_BINARY`` is the program: each test process starts its own server when it first needs
one, and stops it at the end.
"""

import os
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.cli.chaos.place import free_ports, qdrant_variables
from support.postgres import SHARED_MEMORY
from support.processes import end
from support.waiting import wait_for

HOW_TO = (
    "needs a real Qdrant server: set TEST_QDRANT_BINARY to the program, or TEST_QDRANT_URL to where one runs"
)


@dataclass(frozen=True, slots=True)
class RealServer:
    """The address of a real server."""

    url: str
    grpc_port: int


@dataclass(slots=True)
class _Own:
    server: RealServer
    process: subprocess.Popen[bytes]
    folder: Path


_own: list[_Own] = []

_TRUSTING = ssl.create_default_context()
"""Accepts any certificate, because it only checks whether the server answers."""
_TRUSTING.check_hostname, _TRUSTING.verify_mode = False, ssl.CERT_NONE


def is_available() -> bool:
    """Whether a real server is available."""
    return bool(os.environ.get("TEST_QDRANT_URL") or os.environ.get("TEST_QDRANT_BINARY"))


def real_server() -> RealServer:
    """Return the server, and start it if necessary."""
    if url := os.environ.get("TEST_QDRANT_URL"):
        return RealServer(url, int(os.environ.get("TEST_QDRANT_GRPC_PORT", "6334")))
    if not _own:
        _own.append(_start(Path(os.environ["TEST_QDRANT_BINARY"])))
    return _own[0].server


def stop_own_server() -> None:
    """Stop the server that this process has started, if any."""
    while _own:
        own = _own.pop()
        end(own.process)
        shutil.rmtree(own.folder, ignore_errors=True)


@contextmanager
def own_server(**settings: str) -> Iterator[RealServer]:
    """Run another server with these variables of Qdrant, until the end of the block."""
    own = _start(Path(os.environ["TEST_QDRANT_BINARY"]), settings)
    try:
        yield own.server
    finally:
        end(own.process)
        shutil.rmtree(own.folder, ignore_errors=True)


def _start(binary: Path, settings: Mapping[str, str] | None = None) -> _Own:
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="agent-storage-qdrant-", dir=place))
    http, grpc = free_ports(2)
    environment = {**qdrant_variables(folder, http, grpc), **(settings or {})}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary.resolve()], cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log
        )
    tls = environment.get("QDRANT__SERVICE__ENABLE_TLS") == "true"
    server = RealServer(f"http{'s' if tls else ''}://127.0.0.1:{http}", grpc)
    try:
        wait_for(lambda: _is_ready(server, process, folder))
    except BaseException:
        end(process)
        raise
    return _Own(server, process, folder)


def _is_ready(server: RealServer, process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    assert process.poll() is None, (folder / "log").read_text()[-2_000:]
    try:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=5, context=_TRUSTING) as answer:  # noqa: S310 - the test's server
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
