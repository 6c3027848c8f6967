"""Filtering, counting and sorting by conditions in SQL, over a project of many facts.

Prints the median for each, and its ratio to the simplest condition: equality with a number, by a
scan of all facts. With indexes, it also prints how long building them took, and the longest time
that another writer waited meanwhile.

    python bench/filters.py [--facts 1000000] [--postgres] [--times 3]
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from _setup import migrated, postgres_server
from sqlalchemy import Engine
from sqlalchemy.orm import Session

BASE = "n = 17"
A_BATCH = 10_000
ONE_IN = 10_000
CONDITIONS = (
    BASE,
    "price.amount >= 999",
    "price.amount >= 999 and country in (DE, FR)",
    "sku starts XR-44",
    "not (country = DE)",
    "tags = rare",
    "tags contains rare",
    "variants.color = red",
    "name contains teapot",
    "valid_from >= 2030-12-31",
    "missing exists",
    "metadata.page = 3",
    "type = offer and confidence > 0.999",
)
PATHS = ("n", "price.amount", "country", "sku", "tags", "variants.color", "valid_from", "metadata.page")
INDEXED = (
    BASE,
    "price.amount >= 999.9",
    "price.amount >= 999 and country in (DE, FR)",
    "price.amount >= 500",
    "sku starts XR-44",
    "tags = rare",
    "tags contains rare",
    "variants.color = red",
    "valid_from = 2030-12-28",
    "n = -1",
    "n = 17 or sku starts XR-0001",
    "n in (17, 18, 19) and not (country = DE)",
)


def documents(count: int) -> Iterator[dict[str, Any]]:
    """Data of about 300 bytes."""
    rng = random.Random(1)  # noqa: S311 - test data, the same each time
    for number in range(count):
        yield {
            "name": f"a {rng.choice(('teapot', 'chair', 'lamp', 'rug'))} of the {rng.choice(('old', 'new'))} kind {number}",
            "n": rng.randrange(100_000),
            "price": {"amount": rng.randrange(100_000) / 100, "currency": "EUR"},
            "country": rng.choice(("DE", "FR", "IT", "ES", "PL")),
            "sku": f"XR-{rng.randrange(10_000):04}-{rng.choice('ABCD')}",
            "tags": ["indoor", "usual" if rng.randrange(ONE_IN) else "rare"],
            "variants": [{"color": rng.choice(("red", "blue", "green"))} for _ in range(2)],
            "valid_from": f"20{rng.randrange(20, 31)}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}",
        }


def fill(engine: Engine, count: int) -> Any:  # noqa: ANN401 - the project's id
    """Store ``count`` facts of one source, without words and vectors; return the project's id."""
    from app.domain.ids import ExtractionId
    from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction
    from app.services.storage.repositories.project import ProjectRepository
    from app.services.storage.repositories.source import SourceRepository

    with Session(engine) as session, session.begin():
        project = ProjectRepository(session).get_or_create("filtered").id
        source = SourceRepository(session).create_batch(project, [("file:a", None)])[0]["file:a"]
    rows = list[NewExtraction]()
    for number, data in enumerate(documents(count), 1):
        rows.append(
            NewExtraction(
                ExtractionId(uuid.uuid4()),
                project,
                source,
                "offer",
                data,
                number % 1_000 / 1_000,
                {"page": number % 50},
            )
        )
        if len(rows) == A_BATCH or number == count:
            with Session(engine) as session, session.begin():
                ExtractionRepository(session).create_batch(rows, held=())
            rows = []
    with engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return project


def median_s(work: Callable[[], object], times: int) -> float:
    """The median duration of ``times`` calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


class Report:
    """Prints measurements; all others are compared with the first."""

    def __init__(self, times: int) -> None:
        self._times = times
        self._base = 0.0

    def line(self, what: str, found: object, work: Callable[[], object]) -> None:
        """Measure a call several times, and print a line for it."""
        taken = median_s(work, self._times)
        self._base = self._base or taken
        print(f"{what:60} {found!s:>10} {taken * 1e3:9.1f} ms  {taken / self._base:8.4f} x", flush=True)


def measure(engine: Engine, project: Any, report: Report) -> None:  # noqa: ANN401 - as above
    """Print a line for each condition, count and order that no index serves."""
    from app.domain.filters import Filters
    from app.intake.where_text import parse_order, parse_path, parse_where
    from app.services.storage.repositories.extraction import ExtractionRepository
    from app.services.storage.repositories.facets import FacetRepository

    with Session(engine) as session:
        extractions, facets = ExtractionRepository(session), FacetRepository(session)
        for condition in CONDITIONS:
            filters = Filters(project, where=parse_where(condition))
            count = partial(extractions.count, filters)
            report.line(f"count where {condition}", count(), count)
        first = Filters(project, where=parse_where(BASE))
        report.line(f"the first 10 where {BASE}", "", partial(extractions.list_ids, first, limit=10))
        everything = Filters(project)
        total = extractions.count(everything)
        for sort in ("-created", "changed", "-price.amount"):
            listed = partial(extractions.list_sorted, parse_order(sort), 2**30, everything, limit=10)
            report.line(f"the first 10 sorted by {sort}", "", listed)
        for by in ("type", "country", "price.amount", "tags"):
            report.line(f"counts by {by}", "", partial(facets.facet, everything, total, by, parse_path(by), 10))


async def make_indexes(engine: Engine) -> float:
    """Build the indexes; return the longest time that a concurrent one-row write took."""
    from sqlalchemy import text

    from app.database import Database
    from app.executor import BoundedExecutor
    from app.services.data_indexes import DataIndexing

    executor = BoundedExecutor(max_workers=4)
    database = Database(engine, executor.lane("database", limit=4, max_waiting=100, wait_timeout_s=600))
    indexing = DataIndexing(database, paths=PATHS)
    await indexing.apply()
    longest = 0.0

    async def write() -> None:
        nonlocal longest
        while True:
            started = time.perf_counter()
            await database.write(lambda session: session.execute(text("UPDATE projects SET last_change = 0")))
            longest = max(longest, time.perf_counter() - started)
            await asyncio.sleep(0.05)

    beside = asyncio.create_task(write())
    async for _ in indexing.carry_out():
        pass
    beside.cancel()
    executor.close(timeout_s=10)
    return longest


def measure_indexed(engine: Engine, project: Any, report: Report) -> None:  # noqa: ANN401 - as above
    """Print lines for the conditions that indexes serve."""
    from app.domain.filters import Filters
    from app.intake.where_text import parse_order, parse_where
    from app.services.storage.repositories.extraction import ExtractionRepository

    for condition in INDEXED:
        filters = Filters(project, where=parse_where(condition))
        # A new session for each condition, as for each request.
        with Session(engine) as session:
            extractions = ExtractionRepository(session)
            count = partial(extractions.count, filters)
            report.line(f"indexed: count where {condition}", count(), count)
            report.line("    the first 10", "", partial(extractions.list_ids, filters, limit=10))
            newest = partial(extractions.list_sorted, parse_order("-created"), 2**30, filters, limit=10)
            report.line("    the newest 10", "", newest)


def main() -> None:
    """Read the options, fill a database, and measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--facts", type=int, default=1_000_000)
    options.add_argument("--postgres", action="store_true")
    options.add_argument("--times", type=int, default=3)
    options.add_argument("--only-indexed", action="store_true", help="compared with the first of these")
    given = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = (
            stack.enter_context(postgres_server(folder))
            if given.postgres
            else f"sqlite:///{folder / 'bench.db'}"
        )
        engine = stack.enter_context(migrated(url))
        started = time.perf_counter()
        project = fill(engine, given.facts)
        print(
            f"{given.facts:,} facts stored in {time.perf_counter() - started:.0f} s, {engine.dialect.name}",
            flush=True,
        )
        report = Report(given.times)
        if not given.only_indexed:
            measure(engine, project, report)
        started = time.perf_counter()
        waited = asyncio.run(make_indexes(engine))
        taken = time.perf_counter() - started
        print(
            f"{len(PATHS)} indexes made in {taken:.0f} s; a writer beside it took {waited * 1e3:.0f} ms at most"
        )
        measure_indexed(engine, project, report)


if __name__ == "__main__":
    main()
