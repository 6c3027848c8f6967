"""Services as processes of their own: started, signalled and ended by the test that needs them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.cli import ROOT, environment

TESTS = ROOT / "tests"


@contextmanager
def worker_process(
    folder: Path, url: str, workers: int = 1, **settings: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """``support.worker_process`` on that database; killed at the end if it still runs."""
    variables = environment(
        DATABASE_URL=url,
        QDRANT_MODE="memory",
        **{"WORKER_POLL_INTERVAL": "0.1", **settings},
    )
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(TESTS)])
    with (folder / f"worker-{os.urandom(4).hex()}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.worker_process", str(workers)],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, stopped or not, and wait for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
