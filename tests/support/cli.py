"""The command line as a user runs it: in a separate process, in its own folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from support.forked import Process
from support.forkserver import Program

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "wordnet.jsonl"
MODULE = "app.entrypoints.cli"
COMMAND = (sys.executable, "-m", MODULE)
"""The command that starts a new interpreter, with all imports."""

_TELL_MODULES = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
from app.entrypoints.cli import main
main()
"""


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings, so that only a test's own apply."""
    prefixes = (
        "DATABASE_",
        "DB_",
        "QDRANT_",
        "EXECUTOR_",
        "EMBEDDING_",
        "WORKER_",
        "API_",
        "CONTAINER_",
        "LOGGING_",
    )
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(prefixes)}
    for name in ("AGENT_STORAGE_CONFIG", "AGENT_STORAGE_HOME"):
        kept.pop(name, None)
    return {**kept, "PYTHONPATH": str(ROOT), "EMBEDDING_PROVIDER": "deterministic", **extra}


class Cli:
    """Runs commands in ``folder``, which has their stores."""

    def __init__(self, folder: Path, **extra: str) -> None:
        self.folder = folder
        self.environment = environment(**extra)

    def __call__(
        self, *arguments: str, stdin: bytes | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end; its exit code must be ``code``."""
        with self.start(*arguments) as process:
            out, err = process.communicate(stdin, timeout=120)
        done = subprocess.CompletedProcess(process.args, process.wait(), out, err)
        assert done.returncode == code, (done.returncode, done.stdout.decode(), done.stderr.decode())
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    def json(self, *arguments: str, stdin: bytes | None = None, code: int = 0) -> Any:
        """Run a command with ``--json`` and decode what it printed."""
        return json.loads(self(*arguments, "--json", stdin=stdin, code=code).stdout)

    def items(self, *arguments: str) -> list[Any]:
        """The items of the list that a command prints with ``--json``."""
        found: list[Any] = self.json(*arguments)["items"]
        return found

    def hits(self, *arguments: str) -> list[Any]:
        """The hits of a search, each merged with its extraction."""
        return [{**hit["extraction"], **hit} for hit in self.items("search", *arguments)]

    def loaded(
        self, names: Iterable[str], *arguments: str, stdin: bytes | None = None, code: int = 0
    ) -> set[str]:
        """Run a command in a new interpreter; return which of the modules ``names`` it imported."""
        done = subprocess.run(
            [sys.executable, "-c", _TELL_MODULES, *arguments],
            input=stdin or b"",
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout.decode(), done.stderr.decode())
        return set(names) & set(json.loads(done.stdout.splitlines()[-1]))

    def start(self, *arguments: str) -> Process:
        """Start a command; the caller waits for it."""
        program = Program(MODULE, list(arguments), self.folder, self.environment)
        return Process(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
