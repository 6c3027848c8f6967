"""Processes with separate stores in one folder, which can be started, suspended and killed."""

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

from app.errors import ProcessFailed
from app.settings.places import HOME_VARIABLE

STARTING_S = 60.0
_MODULE = "app.entrypoints.cli"
_ENDING_S = 20.0
_LOOKED_AT_EVERY_S = 0.05
_UNLIMITED = resource.RLIM_INFINITY


class Member:
    """A process that can be restarted; its output is appended to a log."""

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
        """Start the process, and wait until it is ready.

        Raises:
            ProcessFailed: it ended, or wasn't ready within a minute.
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
                raise ProcessFailed(f"the {self.name} didn't start; {self.log} says why")
            time.sleep(_LOOKED_AT_EVERY_S)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the process by a signal, and by SIGKILL if it doesn't end in time."""
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
        """Send a signal, if the process is running."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def limit_files(self, most_bytes: int | None) -> None:
        """Limit the size of the process's files, which simulates a full disk; None: unlimited."""
        if self._process is not None and self._process.poll() is None:
            limit = _UNLIMITED if most_bytes is None else most_bytes
            with suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, _UNLIMITED))


class Place:
    """The processes that use the stores in a folder.

    With both ``qdrant``, the program of a Qdrant server, and ``database_url``, an empty PostgreSQL
    database, they are the server, a service and two workers. Otherwise one service runs the workers
    itself, with SQLite or the embedded engine for whichever store isn't given.
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
        """Prepare the processes without starting them.

        ``settings`` names the environment variables of all settings. The processes don't inherit
        these, and get ``variables`` instead.
        """
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
        """All processes, in the order in which they start."""
        return [*([self.server] if self.server else []), self.service, *self.workers]

    def start(self) -> None:
        """Start all processes."""
        if self.database_url:
            self.run("db", "upgrade")
        for member in self.members:
            member.start()

    def end(self) -> None:
        """End all processes."""
        for member in reversed(self.members):
            member.end()

    def run(self, *command: str) -> None:
        """Run another command on these stores.

        Raises:
            ProcessFailed: the command failed; the error has its output.
        """
        done = subprocess.run(
            [sys.executable, "-m", _MODULE, *command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise ProcessFailed(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")

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
        # Short, so that the jobs of killed processes are soon claimed again.
        "WORKER_LEASE_TIMEOUT": "5",
        "WORKER_POLL_INTERVAL": "0.5",
        "WORKER_RETRY_DELAY": "1",
        "WORKER_MAX_ATTEMPTS": "100",
    }
    # So that the processes run the code of this process, whatever their working directory.
    return {**kept, **found, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a local process
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP
    except (urllib.error.URLError, OSError):
        return False


def qdrant_variables(folder: Path, http: int, grpc: int) -> dict[str, str]:
    """A Qdrant server's variables for its data in ``folder``, and for these ports on loopback."""
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
    """Find distinct free ports on loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
