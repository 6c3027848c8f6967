"""Processes over stores of their own in one folder: started, stopped for a while, killed, and started again."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from app.errors import AgentStorageError
from app.settings.places import HOME_VARIABLE

STARTING_S = 60.0
_MODULE = "app.entrypoints.cli"
_ENDING_S = 20.0
_LOOKED_AT_EVERY_S = 0.05
_UNLIMITED = resource.RLIM_INFINITY


class NotStartedError(AgentStorageError):
    """A process of the chaos didn't come to life."""


class Member:
    """A process that is started again after whatever happens to it; its output is appended to a log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        is_ready: Callable[[], bool],
    ) -> None:
        self.name = name
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self._command = command
        self._folder = folder
        self._environment = environment
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            NotStartedError: it doesn't, within a minute.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + STARTING_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise NotStartedError(f"the {self.name} didn't start; {self.log} says why")
            time.sleep(_LOOKED_AT_EVERY_S)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by that signal, at last by SIGKILL."""
        if self._process is None:
            return
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def limit_files(self, most_bytes: int | None) -> None:
        """Let no file grow beyond that size, as where a disk has no room; None lets them grow again."""
        if self._process is not None and self._process.poll() is None:
            limit = _UNLIMITED if most_bytes is None else most_bytes
            with suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, _UNLIMITED))


class Place:
    """The processes over the stores in a folder: one service with SQLite; else a service and two workers.

    ``qdrant`` is the program of a Qdrant server, which is then one of them, and ``database_url`` an
    empty PostgreSQL database; without, the stores are SQLite and the embedded engine.
    """

    def __init__(
        self,
        folder: Path,
        settings: Sequence[str],
        *,
        qdrant: Path | None,
        database_url: str | None,
        **variables: str,
    ) -> None:
        """``settings`` are the names of all settings' variables: none of this process's is handed on, only ``variables``."""
        self.folder = folder
        self.database_url = database_url
        self.database_file = None if database_url else folder / "data" / "agent-storage.db"
        self._environment = _environment(folder, settings) | variables
        if database_url:
            self._environment["DATABASE_URL"] = database_url
        self.server = None if qdrant is None else self._qdrant(qdrant)
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._environment["API_PORT"] = str(port)
        many = bool(qdrant and database_url)
        workers = "0" if many else "2"
        self.service = self._command("service", "serve", "--workers", workers, is_ready=self.is_live)
        self.workers = [self._command(f"worker {number}", "worker") for number in (1, 2)] if many else []

    @property
    def members(self) -> list[Member]:
        """All of them, in the order in which they are started."""
        return [*([self.server] if self.server else []), self.service, *self.workers]

    def start(self) -> None:
        """Start all."""
        if self.database_url:
            self.run("db", "upgrade")
        for member in self.members:
            member.start()

    def end(self) -> None:
        """End all."""
        for member in reversed(self.members):
            member.end()

    def run(self, *command: str) -> None:
        """Run another command on these stores.

        Raises:
            NotStartedError: it failed; with what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", _MODULE, *command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise NotStartedError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")

    def is_live(self) -> bool:
        """Whether the service answers."""
        return _answers(f"{self.url}/health/live")

    def _command(self, name: str, *command: str, is_ready: Callable[[], bool] = lambda: True) -> Member:
        return Member(name, [sys.executable, "-m", _MODULE, *command], self.folder, self._environment, is_ready)

    def _qdrant(self, program: Path) -> Member:
        http, grpc = free_ports(2)
        self._environment |= {"QDRANT_URL": f"http://127.0.0.1:{http}", "QDRANT_GRPC_PORT": str(grpc)}
        environment = {**os.environ, **qdrant_variables(self.folder / "qdrant", http, grpc)}
        ready = f"http://127.0.0.1:{http}/readyz"
        return Member(
            "Qdrant server", [str(program.resolve())], self.folder, environment, lambda: _answers(ready)
        )


def _environment(folder: Path, settings: Sequence[str]) -> dict[str, str]:
    ours = {name.upper() for name in settings}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    for name in ("AGENT_STORAGE_CONFIG", "AGENT_STORAGE_API_KEY"):
        kept.pop(name, None)
    found = {
        HOME_VARIABLE: str(folder),
        "EMBEDDING_PROVIDER": "deterministic",
        # So that the work of the dead is soon taken up.
        "WORKER_LEASE_TIMEOUT": "5",
        "WORKER_POLL_INTERVAL": "0.5",
        "WORKER_RETRY_DELAY": "1",
        "WORKER_MAX_ATTEMPTS": "100",
    }
    # What is run is this very program, wherever it is started.
    return {**kept, **found, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own process
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP
    except (urllib.error.URLError, OSError):
        return False


def qdrant_variables(folder: Path, http: int, grpc: int) -> dict[str, str]:
    """What a Qdrant server is told to keep its data there, and to listen on these ports of this machine alone."""
    return {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(http),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
        "QDRANT__LOG_LEVEL": "WARN",
    }


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which no process listens just now, each another one."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
