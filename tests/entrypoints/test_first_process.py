"""A service as a container's first process, which gets only the signals that it handles."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.cli import MODULE, environment
from support.processes import free_port
from support.waiting import wait_for

pytestmark = pytest.mark.slow

UNSHARED = ("unshare", "--pid", "--fork", "--kill-child")


def may_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARED, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def child_of(pid: int) -> int:
    """The child of ``unshare``; 0 before it has one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def handles_sigterm(pid: int) -> bool:
    if not pid:
        return False
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.skipif(not may_unshare(), reason="needs root, and `unshare` of util-linux")
@pytest.mark.parametrize("after_s", [0, 0.2, 0.4, 0.8, 1.2, 2.0, 4.0])
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_signal_at_any_moment_of_the_start_ends_it(tmp_path: Path, command: str, after_s: float) -> None:
    settings = {"API_PORT": str(free_port())} if command == "serve" else {}
    process = subprocess.Popen(
        [*UNSHARED, sys.executable, "-m", MODULE, command],
        cwd=tmp_path,
        env=environment(**settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # Before that the interpreter itself is starting, and no program can have a handler.
        wait_for(lambda: handles_sigterm(child_of(process.pid)))
        time.sleep(after_s)
        os.kill(child_of(process.pid), signal.SIGTERM)
        process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()
