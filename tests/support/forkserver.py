"""A process that imports the product once, and forks a process for each program that a test runs.

Run as ``python -m support.forkserver FD``. Importing takes most of a short command's time, and
tests run hundreds of them. A request on the socket ``FD`` names a module. Its ``main`` runs in a
new process with the request's arguments, folder, environment and standard streams, and with signals
as after an ``exec``. The server ends when the socket is closed.

Tests of a real start (what is imported, and what the imports do) run without it.
"""

import atexit
import gc
import importlib
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

PRELOADED = (
    "app.api.app",
    "app.cli.config",
    "app.cli.diagnosis",
    "app.cli.index",
    "app.cli.ingest",
    "app.cli.jobs",
    "app.cli.metrics",
    "app.cli.projects",
    "app.cli.remote.parts",
    "app.cli.remote.services",
    "app.cli.search",
    "app.cli.service",
    "app.entrypoints.api",
    "app.entrypoints.cli",
    "app.entrypoints.worker",
    "app.services.storage.qdrant.adapter",
    "app.services.storage.qdrant.edge",
    "psycopg",
    "rich.console",
    "rich.progress",
    "rich.table",
    "support.changing_process",
    "support.replacing_process",
    "support.worker_process",
    "uvicorn.protocols.http.httptools_impl",
)
_STREAMS = 3
_REQUEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Program:
    """A program to run: ``main`` of ``module``."""

    module: str
    arguments: list[str]
    folder: Path
    environment: dict[str, str]

    def encoded(self) -> bytes:
        return json.dumps(asdict(self), default=str).encode()


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # else a collection in a child would copy every page
    asked = socket.socket(fileno=int(sys.argv[1]))
    while True:
        request, descriptors, _, _ = socket.recv_fds(asked, _REQUEST_BYTES, _STREAMS + 1)
        if not request:
            return
        if os.fork() == 0:
            asked.close()
            _keep(Program(**json.loads(request)), descriptors[:_STREAMS], socket.socket(fileno=descriptors[-1]))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        _reap()


def _keep(program: Program, streams: list[int], told: socket.socket) -> None:
    """Run the program in a child; send its pid, and its exit code at the end."""
    if pid := os.fork():
        for descriptor in streams:
            os.close(descriptor)
        told.sendall(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        told.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    told.close()
    _open_streams(streams)
    os.chdir(program.folder)
    os.environ.clear()
    os.environ.update(program.environment)
    sys.argv[:] = [program.module, *program.arguments]
    _run(importlib.import_module(program.module).main)


def _run(main: Callable[[], None]) -> NoReturn:
    """Run and end a program as the interpreter does, but without destroying objects.

    Destroying them takes as long as the imports.
    """
    code: str | int | None = 1
    try:
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:  # noqa: BLE001 - printed as by the interpreter
        traceback.print_exc()
    if isinstance(code, str):
        print(code, file=sys.stderr)  # noqa: T201 - likewise
    threading._shutdown()  # type: ignore[attr-defined]  # private, but the interpreter calls it
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _open_streams(descriptors: list[int]) -> None:
    """Make new files for the standard streams: the old ones cache whether they are seekable."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - likewise
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115 - likewise


def _reap() -> None:
    """Reap the ended children."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    main()
