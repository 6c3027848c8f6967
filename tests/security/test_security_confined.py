"""The service confined as in the container, as far as possible without one.

It runs as the user nobody, without capabilities, on a file system that is read-only except for its
data and its temporary files.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from support.api import raw_item
from support.cli import MODULE, ROOT, environment
from support.loopback import TLS
from support.processes import STARTING_S, free_port
from support.waiting import wait_for

NOBODY = 65_534

# Everything is bound again as read-only, in a mount namespace of this process's own, but for what
# is given as DATA and TEMPORARY. Where the interpreter lies in a folder that only root may enter,
# HIDDEN, that is laid open for it.
CONFINED = f"""
set -eu
mount --make-rprivate /
if [ -n "$HIDDEN" ]; then
    mount --bind "$INTERPRETER" "$STAGE"
    mount -t tmpfs -o mode=0755 tmpfs "$HIDDEN"
    mkdir -p "$INTERPRETER"
    mount --bind "$STAGE" "$INTERPRETER"
fi
mount --bind "$DATA" "$DATA"
mount --bind "$TEMPORARY" "$TEMPORARY"
cut -d' ' -f5 /proc/self/mountinfo | while read -r place; do
    case "$place" in
        "$DATA" | "$TEMPORARY" | /proc* | /sys*) ;;
        *) mount -o remount,bind,ro "$place" 2>/dev/null || [ ! -w "$place" ] || [ ! -d "$place" ] ;;
    esac
done
for place in / /tmp /var/tmp /dev/shm "$ROOT" "$INTERPRETER"; do
    ! touch "$place/written" 2>/dev/null || {{ echo "$place can be written to" >&2; exit 9; }}
done
cd "$DATA"
exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def allowed() -> bool:
    """Whether this process may make a namespace of mounts; in most containers it may not."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "--make-rprivate", "/"],  # noqa: S607 - wherever it is
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not allowed(), reason="needs root and a mount namespace")]


def hidden_folder(interpreter: Path) -> str:
    """The folder above the interpreter that only its owner may enter, if there is one."""
    for folder in [*reversed(interpreter.parents), interpreter]:
        if not folder.stat().st_mode & stat.S_IXOTH:
            return str(folder)
    return ""


@contextmanager
def confined(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str, Path]]:
    """Run ``agent-storage serve`` with stores in ``folder/data``; return process, URL and log."""
    places = {name: folder / name for name in ("data", "temporary", "stage")}
    for place in places.values():
        place.mkdir()
        os.chown(place, NOBODY, NOBODY)
    interpreter = Path(sys.base_prefix).resolve()
    port = free_port()
    variables = {
        **environment(EMBEDDING_PROVIDER="wordllama", PYTHONDONTWRITEBYTECODE="1"),
        "HOME": "/nonexistent",
        "TMPDIR": str(places["temporary"]),
        "DATA": str(places["data"]),
        "TEMPORARY": str(places["temporary"]),
        "STAGE": str(places["stage"]),
        "INTERPRETER": str(interpreter),
        "HIDDEN": hidden_folder(interpreter),
        "ROOT": str(ROOT),
    }
    serve = [sys.executable, "-m", MODULE, "serve", "--port", str(port)]
    log = folder / "serve.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", CONFINED, "sh", *serve],  # noqa: S607 - wherever it is
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        ) as process,
    ):
        try:
            yield process, f"http://127.0.0.1:{port}", log
        finally:
            process.kill()


def await_life(process: "subprocess.Popen[bytes]", client: httpx2.Client, log: Path) -> None:
    deadline = time.monotonic() + STARTING_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if client.get("/health/ready").is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.02)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user nobody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="agent-storage-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.slow
def test_nobody_serves_from_a_read_only_file_system(folder: Path) -> None:
    with (
        confined(folder) as (process, url, log),
        httpx2.Client(base_url=url, timeout=60, trust_env=False, verify=TLS) as client,
    ):
        await_life(process, client, log)
        status = Path(f"/proc/{process.pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split() == [str(NOBODY)] * 4
        assert facts["Groups"].strip() == ""
        assert facts["NoNewPrivs"] == "1"
        assert {int(facts[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}

        items = [raw_item(number) for number in range(20)]
        answer = client.post("/v1/projects/papers/extractions", json={"extractions": items})
        assert answer.status_code == 202, answer.text
        wait_for(lambda: client.get("/v1/projects/papers").json()["indexed"] == len(items))
        found = client.post("/v1/projects/papers/search", json={"query": "river", "limit": 3})
        assert len(found.json()["items"]) == 3
        assert client.get("/metrics").is_success

        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    written = {path.name for path in (folder / "data").rglob("*") if path.is_file()}
    assert "agent-storage.db" in written
    assert all(path.stat().st_uid == NOBODY for path in (folder / "data").rglob("*"))
    assert list((folder / "temporary").iterdir()) == []
