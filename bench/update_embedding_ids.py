"""Marking extractions as indexed: the repository against the best SQL and an update() per row.

    python bench/update_embedding_ids.py [--ids 10000] [--repeats 9] [--dialects sqlite postgresql]

The ways take turns, ``--repeats`` times, each in its own transaction on rows that aren't marked.
Rates are medians in rows a second, ratios are to the SQL written by hand. Single updates get a
tenth of the ids.
"""

import argparse
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from _setup import ENGINES
from sqlalchemy import Engine, text, update

from app.database import WriteSession
from app.domain.ids import ExtractionId
from app.models import Extraction
from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.source import SourceRepository

Ids = Sequence[ExtractionId]
BY_HAND = {
    "sqlite": "UPDATE extractions SET embedding_id = id WHERE id IN (SELECT value FROM json_each(?))",
    "postgresql": "UPDATE extractions SET embedding_id = id::text WHERE id = ANY(%s)",
}


def by_hand(session: WriteSession, ids: Ids) -> int:
    """Call the driver with the fastest statement for it."""
    dialect = session.get_bind().dialect.name
    connection: Any = session.connection().connection.driver_connection
    given = orjson.dumps(ids).decode() if dialect == "sqlite" else list(ids)
    return int(connection.execute(BY_HAND[dialect], (given,)).rowcount)


def repository(session: WriteSession, ids: Ids) -> int:
    """Mark as the product does."""
    return ExtractionRepository(session).update_embedding_ids_batch(ids)


def one_update_a_row(session: WriteSession, ids: Ids) -> int:
    """Mark in the obvious way, row by row."""
    for each in ids:
        session.execute(update(Extraction).where(Extraction.id == each).values(embedding_id=str(each)))
    return len(ids)


WAYS: dict[str, tuple[Callable[[WriteSession, Ids], int], int]] = {
    "by hand": (by_hand, 1),
    "repository": (repository, 1),
    "one update() a row": (one_update_a_row, 10),
}


def fill(engine: Engine, count: int) -> list[ExtractionId]:
    """Store twice ``count`` extractions; return ``count`` random ids of them."""
    with WriteSession(engine) as session, session.begin():
        project = ProjectRepository(session).get_or_create("bench").id
        source = SourceRepository(session).create_batch(project, [("bench:", None)])[0]["bench:"]
        rows = [
            NewExtraction(ExtractionId(uuid.uuid4()), project, source, "fact", {"fact_text": f"fact {number}"})
            for number in range(2 * count)
        ]
        ExtractionRepository(session).create_batch(rows)
    return random.sample([row.id for row in rows], count)


def unmark(engine: Engine) -> None:
    """Remove all marks, and the dead rows that the last way left."""
    with WriteSession(engine) as session, session.begin():
        ExtractionRepository(session).clear_all_embedding_ids()
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE extractions"))


def seconds_a_row(engine: Engine, way: str, ids: Ids) -> float:
    """Measure one transaction, in seconds per row."""
    mark, share = WAYS[way]
    chosen = ids[: len(ids) // share]
    unmark(engine)
    started = time.perf_counter()
    with WriteSession(engine) as session, session.begin():
        changed = mark(session, chosen)
    taken = time.perf_counter() - started
    if changed != len(chosen):
        raise SystemExit(f"{way} changed {changed} rows of {len(chosen)}")
    return taken / len(chosen)


def measure(engine: Engine, ids: Ids, repeats: int) -> None:
    """Print a line for each way."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(repeats):
        for way in sorted(WAYS, reverse=bool(turn % 2)):
            times[way].append(seconds_a_row(engine, way, ids))
    base = statistics.median(times["by hand"])
    for way, taken in times.items():
        median = statistics.median(taken)
        spread = f"({1 / max(taken):,.0f} to {1 / min(taken):,.0f})"
        print(f"{engine.dialect.name:12}{way:20}{1 / median:12,.0f} rows/s{base / median:8.2f} x   {spread}")


def main() -> None:
    """Fill each database and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ids", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--dialects", nargs="+", choices=sorted(ENGINES), default=sorted(ENGINES))
    arguments = parser.parse_args()
    print(f"{arguments.ids:,} ids of {2 * arguments.ids:,} extractions, medians of {arguments.repeats}")
    for name in arguments.dialects:
        with (
            tempfile.TemporaryDirectory(prefix="update-embedding-ids-") as folder,
            ENGINES[name](Path(folder)) as engine,
        ):
            measure(engine, fill(engine, arguments.ids), arguments.repeats)


if __name__ == "__main__":
    main()
