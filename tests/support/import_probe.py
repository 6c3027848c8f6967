"""Import every module of some packages, and report side effects of the imports.

Run as a script, in a new interpreter: ``python import_probe.py DIRECTORY ROOT...``. Prints a line
``module: event`` for each side effect, and exits with 1 if there was any.

Side effects of libraries, such as a check for IPv6, are allowed.
"""

import importlib
import re
import sys
import threading
from pathlib import Path
from types import FrameType

FORBIDDEN = {
    "open",
    "os.fork",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "socket.__new__",
    "socket.connect",
    "sqlite3.connect",
    "subprocess.Popen",
}

# Alembic runs these scripts, and they may import it.
SCRIPT = re.compile(r"app\.sql\.migrations\.(?!__init__$).+")


class Watch:
    """An audit hook that reports events of the current module; it can only be disabled."""

    def __init__(self, directory: Path) -> None:
        self.module = ""
        self.findings: list[str] = []
        self._directory = f"{directory}/"

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.module and event in FORBIDDEN and self._asked_by_project():
            self.findings.append(f"{self.module}: {event} {arguments[:1]}")

    def _asked_by_project(self) -> bool:
        """Whether the innermost frame of the project or the import system is the project's."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith("<frozen importlib"):
                return False
            if name.startswith(self._directory) and name != __file__ and "site-packages" not in name:
                return True
            frame = frame.f_back
        return False


def modules_of(directory: Path, root: str) -> list[str]:
    """The root and every module below it, packages first, without the migration scripts."""
    files = sorted((directory / root).rglob("*.py"))
    names = [".".join(file.relative_to(directory).with_suffix("").parts) for file in files] or [root]
    return [name.removesuffix(".__init__") for name in names if not SCRIPT.fullmatch(name)]


def report_threads(watch: Watch) -> None:
    """Report starts of threads, which aren't audit events before Python 3.12."""
    start = threading.Thread.start

    def reported(thread: threading.Thread) -> None:
        watch.findings.append(f"{watch.module}: thread {thread.name}")
        start(thread)

    threading.Thread.start = reported  # type: ignore[assignment]  # only in the probe's process


def main(directory: Path, roots: list[str]) -> int:
    """Import everything, print the findings, and return the exit code."""
    sys.path.insert(0, str(directory))
    watch = Watch(directory)
    sys.addaudithook(watch)
    report_threads(watch)
    modules = [module for root in roots for module in modules_of(directory, root)]
    for watch.module in modules:
        importlib.import_module(watch.module)
    watch.module = ""
    sys.stdout.write("\n".join([*watch.findings, f"{len(modules)} modules", ""]))
    return 1 if watch.findings else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
