"""The peak memory of a process.

Not by ``ru_maxrss``, which starts in a child with the parent's peak.
"""

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LOOKING_S = 0.01


def peak_mib(pid: int | str = "self") -> int:
    """The peak so far of a running process, in MiB; 0 if it has ended."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) // 1024 if found else 0
    return 0


def run_measured(
    command: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[bytes], int]:
    """Run a command to its end; return its result, with both outputs combined, and its peak."""
    output, peak = folder / "output", 0
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=file, stderr=file)
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        time.sleep(_LOOKING_S)
    return subprocess.CompletedProcess(command, process.returncode, output.read_bytes()), peak
