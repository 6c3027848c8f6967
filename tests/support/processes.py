"""Services in separate processes that tests start, signal and end."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from support.cli import MODULE, ROOT, environment
from support.forked import Process
from support.forkserver import Program
from support.loopback import TLS
from support.waiting import wait_for

TESTS = ROOT / "tests"
STARTING_S = 60.0
"""Longer than a start takes on a busy machine, so only a hang exceeds it."""


@dataclass
class Service:
    """``agent-storage serve`` as a process that appends its log to ``log``."""

    process: Process
    url: str
    log: Path

    def kill(self) -> None:
        """Send SIGKILL."""
        end(self.process)


@contextmanager
def worker_process(folder: Path, url: str, workers: int = 1, **settings: str) -> Iterator[Process]:
    """Run ``support.worker_process`` on that database; killed at the end if it still runs."""
    variables = environment(
        DATABASE_URL=url,
        QDRANT_MODE="memory",
        **{"WORKER_POLL_INTERVAL": "0.1", **settings},
    )
    log = folder / f"worker-{os.urandom(4).hex()}.log"
    with _process(Program("support.worker_process", [str(workers)], folder, variables), log) as process:
        yield process


@contextmanager
def store_process(folder: Path, url: str, module: str, *arguments: str) -> Iterator[Process]:
    """Run a program of ``support`` on that database, without vectors.

    Its output is appended to ``module.log``. It is killed at the end if it still runs.
    """
    variables = environment(DATABASE_URL=url, QDRANT_MODE="memory")
    with _process(Program(module, list(arguments), folder, variables), folder / f"{module}.log") as process:
        yield process


@contextmanager
def serve_process(
    folder: Path, settings: Mapping[str, str], *, port: int | None = None, workers: int = 1
) -> Iterator[Service]:
    """Run ``agent-storage serve`` with its stores in ``folder``, and wait until it answers.

    It listens on ``port`` of the loopback, a free one if None. Settings are the defaults, with the
    deterministic embedder and the variables in ``settings``. It is killed at the end if it still
    runs.
    """
    port = free_port() if port is None else port
    arguments = ["serve", "--port", str(port), "--workers", str(workers)]
    log = folder / "serve.log"
    with _process(Program(MODULE, arguments, folder, environment(**settings)), log) as process:
        service = Service(process, f"http://127.0.0.1:{port}", log)
        _wait_until_live(service)
        yield service


@contextmanager
def command_process(
    folder: Path, settings: Mapping[str, str], *arguments: str, name: str = "command"
) -> Iterator[Process]:
    """Run a command of ``agent-storage``, with its log in ``name.log``.

    It is killed at the end if it still runs.
    """
    program = Program(MODULE, list(arguments), folder, environment(**settings))
    with _process(program, folder / f"{name}.log") as process:
        yield process


def errors_in(log: Path) -> list[dict[str, Any]]:
    """The errors in a service's log, and the lines that aren't JSON."""
    found = []
    for line in log.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"level": "none", "event": line}
        if entry.get("level") not in {"debug", "info", "warning"}:
            found.append(entry)
    return found


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def end(process: "Process | subprocess.Popen[Any]") -> None:
    """Kill a process, stopped or not, and wait for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


@contextmanager
def _process(program: Program, log: Path) -> Iterator[Process]:
    with log.open("ab") as file:
        process = Process(program, stdout=file, stderr=file)
    try:
        yield process
    finally:
        end(process)


def wait_until_ready(service: Service) -> None:
    """Wait until the service has opened its index."""
    with httpx2.Client(base_url=service.url, trust_env=False, verify=TLS) as client:
        wait_for(lambda: client.get("/health/ready").is_success)


def _wait_until_live(service: Service) -> None:
    deadline = time.monotonic() + STARTING_S
    with httpx2.Client(base_url=service.url, trust_env=False, verify=TLS) as client:
        while True:
            assert service.process.poll() is None, service.log.read_text()[-5_000:]
            assert time.monotonic() < deadline, f"it never answered: {service.log.read_text()[-5_000:]}"
            try:
                client.get("/health/live").raise_for_status()
            except httpx2.TransportError:
                time.sleep(0.02)
            else:
                return
