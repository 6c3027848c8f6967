"""The command line's entry point: settings, container, run."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from app.cli.context import CliContext, Parts
from app.cli.main import app

if TYPE_CHECKING:
    from app.config import Settings

_CLOSING_TIMEOUT_S = 0.5
_M_ARENA_MAX = -8  # of glibc's malloc.h


@contextmanager
def open_parts(settings: "Settings", *, index: bool = True, migrate: bool | None = None) -> Iterator[Parts]:
    """See :class:`app.cli.context.OpenParts`. Imports the container only now, so that --help stays quick."""
    from containers import create_container, running

    _share_heaps()
    replacements = {} if index else {"qdrant_client": None}
    container = create_container(settings, **replacements)
    # Nobody waits for a command: what still runs when it ends is what Ctrl-C interrupted.
    container.config.executor.shutdown_timeout.from_value(_CLOSING_TIMEOUT_S)
    with running(container, migrate=migrate):
        yield cast(Parts, container)


def _share_heaps() -> None:
    """Let all threads allocate from two heaps: glibc would give each its own, which costs an ingest 40 MB."""
    with suppress(OSError, AttributeError):  # another system's C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def draw_graph() -> str:
    """The container as a Mermaid diagram."""
    from app.entrypoints.graph import mermaid
    from containers import Container

    return mermaid(Container.providers)


def main() -> None:
    """Run a command and exit with its code."""
    code: int | str | None = 0
    try:
        app(obj=CliContext(config_file=None, open_parts=open_parts, draw_graph=draw_graph))
    except SystemExit as leaving:
        code = leaving.code
    if any(thread.name.startswith("agent-storage") for thread in threading.enumerate()):
        # A call that was given up still holds its thread, and Python would wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
    sys.exit(code)


if __name__ == "__main__":
    main()
