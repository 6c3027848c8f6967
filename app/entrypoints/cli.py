"""The command line's entry point: settings, container, run."""

# Ctrl-C during an import prints a traceback, so slow modules are imported inside `main`.
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from app.exit_codes import INTERRUPTED, OF_SIGNAL

if TYPE_CHECKING:
    from app.cli.command_parts import CommandParts
    from app.config import Settings

_FIRST_PROCESS = 1
_M_ARENA_MAX = -8  # of glibc's malloc.h
_OWNER_ONLY = 0o077
_UNWRITABLE = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC}

_Code = int | str | None


@contextmanager
def open_parts(
    settings: "Settings", *, index: bool = True, migrate: bool | None = None, check: bool = True
) -> Iterator["CommandParts"]:
    """See :class:`app.cli.command_parts.OpenParts`; imports lazily, so that --help stays fast."""
    import gc

    from app.entrypoints.factory import container_of
    from app.executor import GIVEN_UP_TIMEOUT_S
    from containers import running

    _share_heaps()
    container = container_of(settings)
    if not index:
        container.override_providers(qdrant_client=None)
    # Only calls that Ctrl-C interrupted still run when a command ends; don't wait for them.
    container.config.executor.shutdown_timeout.from_value(GIVEN_UP_TIMEOUT_S)
    with running(container, migrate=migrate, check=check):
        # Keep long-lived start-up objects out of collection; a full collection pauses all threads.
        gc.freeze()
        yield container


def _share_heaps() -> None:
    """Limit malloc to two arenas; glibc's default of one per thread costs an ingest 40 MB."""
    import ctypes

    with suppress(OSError, AttributeError):  # the C library isn't glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def draw_graph() -> str:
    """The container as a Mermaid diagram."""
    from app.entrypoints.graph import mermaid
    from containers import Container

    return mermaid(Container.providers)


def _serve(settings: "Settings", workers: int) -> None:
    from app.entrypoints.api import serve

    serve(settings, workers=workers)


def _work(settings: "Settings", workers: int) -> None:
    from app.entrypoints.worker import work

    work(settings, workers=workers)


def main() -> None:
    """Run a command and exit with its code."""
    os.umask(_OWNER_ONLY)
    if os.getpid() == _FIRST_PROCESS:
        # The kernel doesn't deliver a signal without a handler to a container's first process. A
        # service installs its own handler once it runs.
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(OF_SIGNAL + number))
    code: _Code
    try:
        code = _run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        # An error with a file name isn't about the output, and other error numbers are bugs.
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        code = _refuse_output(str(error.strerror))
    _exit(code)


def _run() -> _Code:
    """Run the command, flush its output, and return its exit code."""
    if sys.stdout is None:  # the next file opened would get its descriptor
        return _refuse_output("standard output is closed")
    for stream in filter(None, (sys.stdout, sys.stderr)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # the encoding may lack characters of the data
    from app.cli.context import CliContext
    from app.cli.main import app

    code: _Code = 0
    try:
        app(
            obj=CliContext(
                config_file=None, open_parts=open_parts, draw_graph=draw_graph, serve=_serve, work=_work
            )
        )
    except SystemExit as leaving:
        code = leaving.code
    sys.stdout.flush()
    return code


def _refuse_output(reason: str) -> int:
    with suppress(OSError):
        print(f"Error: can't write the output: {reason}", file=sys.stderr)  # noqa: T201 - before typer
    if sys.stdout is not None:
        # At exit, Python flushes the stream again, and would report the error a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _exit(code: _Code) -> None:
    import threading

    if any(thread.name.startswith("agent-storage") for thread in threading.enumerate()):
        # A call that was given up still holds its thread; sys.exit() would wait for it.
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


if __name__ == "__main__":
    main()
