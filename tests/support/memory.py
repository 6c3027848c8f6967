"""The most memory that a process has taken.

Not ``ru_maxrss``, in which a child begins with what its parent had taken.
"""

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LOOKING_S = 0.01


def peak_mib(pid: int | str = "self") -> int:
    """The peak so far of a process that runs, in MiB; 0 if it has ended."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) // 1024 if found else 0
    return 0


def run_measured(
    command: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> tuple[subprocess.CompletedProcess[bytes], int]:
    """Run a command to its end; what it wrote to both of its outputs, together, and its peak."""
    output, peak = folder / "output", 0
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=file, stderr=file)
    while process.poll() is None:
        peak = max(peak, peak_mib(process.pid))
        time.sleep(_LOOKING_S)
    return subprocess.CompletedProcess(command, process.returncode, output.read_bytes()), peak
