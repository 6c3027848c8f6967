"""A service that is a container's first process, from which the kernel keeps signals that it has no handler for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.cli import MODULE, environment
from support.processes import free_port

pytestmark = pytest.mark.slow

UNSHARED = ("unshare", "--pid", "--fork", "--kill-child")


def may_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARED, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_unshare(), reason="needs root, and `unshare` of util-linux")
@pytest.mark.parametrize("after_s", [0.15, 0.4, 0.8, 1.2, 2.0, 4.0])
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
        time.sleep(after_s)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if not children:  # it has ended by itself, or hasn't begun
            pytest.fail("the service isn't there")
        os.kill(int(children[0]), signal.SIGTERM)
        process.wait(timeout=10)
    finally:
        process.kill()
        process.wait()
