"""The stub of a Qdrant server as a process, over a real socket."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from support.processes import TESTS, end


@contextmanager
def qdrant_process() -> Iterator[str]:
    """Run the stub; return its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.qdrant_stub"],
        cwd=TESTS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin, process.stdout:
            yield process.stdout.readline().strip()
    finally:
        end(process)
