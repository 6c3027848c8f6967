"""What the image runs, as its containers run it: by the Dockerfile's own words, without an engine.

Each test starts a first process in new namespaces, with the Dockerfile's entry point, variables and
user, on a read-only file system. The system folders are this machine's, not the base image's.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.dockerfile import last_stage, variables
from support.packages import VERSION
from support.waiting import PATIENCE_S, wait_for

KEY = "a-key-of-16-letters"
ROOTED = Path(__file__).parents[1] / "support" / "image_root.sh"
NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child")


def can_isolate() -> bool:
    """Whether this process may make namespaces, and what runs in them is installed."""
    if any(shutil.which(program) is None for program in ("unshare", "nsenter", "setpriv", "ip", "tini")):
        return False
    probe = [*NAMESPACES, "mount", "-t", "tmpfs", "probe", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_isolate(), reason="needs root, unshare, nsenter, setpriv, ip and tini"),
]


@dataclass(frozen=True)
class Box:
    """A running container."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The first process, as this machine numbers it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        wait_for(children.read_text)
        return int(children.read_text())

    def ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as an engine runs a health check."""
        (user,) = last_stage("USER")
        uid, _, gid = user.partition(":")
        entered = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root"]
        entered += [f"--setuid={uid}", f"--setgid={gid}", "env", "--ignore-environment", "--chdir=/data"]
        settings = [f"{name}={value}" for name, value in environment().items()]
        return subprocess.run(
            [*entered, *settings, *command], capture_output=True, text=True, check=False, timeout=60
        )

    def stop(self) -> int:
        """Send SIGTERM to the first process, as ``docker stop`` does; return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def environment() -> dict[str, str]:
    given = variables()
    return {**given, "PATH": given["PATH"].replace("$PATH", os.defpath), "API_API_KEYS": KEY}


@contextmanager
def started(clean_bin: Path, log: Path, command: list[str]) -> Iterator[Box]:
    (user,) = last_stage("USER")
    (entry,) = last_stage("ENTRYPOINT")
    uid, _, gid = user.partition(":")
    # A console script names its interpreter by the path that the environment was made at.
    mounts = {sys.base_prefix, str(clean_bin.parent), *(path for path in sys.path if "site-packages" in path)}
    command = [
        *NAMESPACES,
        str(ROOTED),
        str(clean_bin.parent),
        *(f"{name}={value}" for name, value in environment().items()),
        *json.loads(entry),
        *command,
    ]
    # In the test's own folder, so that it goes with it.
    given = {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(log.parent),
        "MOUNTS": " ".join(sorted(mounts)),
        "USER_ID": uid,
        "GROUP_ID": gid,
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=given, stdout=output, stderr=output) as process,
    ):
        try:
            yield Box(process, log)
        finally:
            # The kernel forgets --kill-child when the child changes its user.
            if process.poll() is None:
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)  # and with it everything in the container
            process.kill()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def service(clean_bin: Path, log: Path) -> Iterator[Box]:
    (command,) = last_stage("CMD")
    with started(clean_bin, log, json.loads(command)) as box:
        wait_for(lambda: box.process.poll() is not None or is_healthy(box))
        assert box.process.poll() is None, log.read_text()
        yield box


def is_healthy(box: Box) -> bool:
    (check,) = last_stage("HEALTHCHECK")
    return box.ask(*json.loads(check[check.index("CMD") + 3 :])).returncode == 0


def test_a_stop_is_graceful(service: Box) -> None:
    assert service.stop() == 0
    assert "stopping on SIGTERM" in service.log.read_text()


def test_a_stop_during_the_imports_ends_it(clean_bin: Path, log: Path) -> None:
    """The kernel drops a first process's signals that have no handler; tini passes them on."""
    (command,) = last_stage("CMD")
    with started(clean_bin, log, json.loads(command)) as box:
        wait_for(lambda: Path(f"/proc/{box.pid}/comm").read_text() == "tini\n")
        wait_for(Path(f"/proc/{box.pid}/task/{box.pid}/children").read_text)
        assert box.stop() in {0, 128 + signal.SIGTERM}, log.read_text()


def test_an_orphan_is_reaped(service: Box) -> None:
    """An orphan's new parent is the first process; without an init it would stay as a zombie."""
    orphan = "echo $$ >pid; exec sleep 0.2 >/dev/null 2>&1"
    service.ask("sh", "-c", f"sh -c '{orphan}' &")
    wait_for(lambda: service.ask("cat", "/data/pid").stdout != "")
    wait_for(lambda: service.ask("sh", "-c", "test ! -e /proc/$(cat /data/pid)").returncode == 0)


def test_the_service_is_not_root_and_has_no_capability(service: Box) -> None:
    status = service.ask("sh", "-c", "cat /proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Name"] == "tini"
    assert set(fields["Uid"].split()) == {"10001"}
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert fields["NoNewPrivs"] == "1"


def test_only_its_data_and_tmp_can_be_written(service: Box) -> None:
    for place in ("/", "/etc", "/opt/agent-storage", "/usr/bin"):
        refused = service.ask("sh", "-c", f"exec 2>&1; : > {place}/file")
        assert "Read-only file system" in refused.stdout, place
    assert service.ask("test", "-f", "/data/agent-storage.db").returncode == 0


def test_a_command_runs_instead_of_the_service(clean_bin: Path, log: Path) -> None:
    with started(clean_bin, log, ["--version"]) as box:
        assert box.process.wait(PATIENCE_S) == 0, log.read_text()
    assert log.read_text() == f"agent-storage {VERSION}\n"
