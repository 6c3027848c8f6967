"""Conditions on facts, their counts and their order, in SQL: how long each takes over a project of many facts.

Prints the median for each, and its ratio to the plainest condition there is: a number that equals, read through all facts.

    python bench/filters.py [--facts 1000000] [--postgres] [--times 3]
"""

import argparse
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


def documents(count: int) -> Iterator[dict[str, Any]]:
    """Data of about 300 bytes."""
    rng = random.Random(1)  # noqa: S311 - drawn alike each time
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
    """Store so many facts of one source, without words and vectors; the project's id."""
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
    """The median of so many calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(engine: Engine, project: Any, times: int) -> None:  # noqa: ANN401 - as above
    """Print a line for each condition, count and order."""
    from app.domain.filters import Filters
    from app.intake.where_text import parse_order, parse_path, parse_where
    from app.services.storage.repositories.extraction import ExtractionRepository
    from app.services.storage.repositories.facets import FacetRepository

    base = 0.0
    with Session(engine) as session:
        extractions, facets = ExtractionRepository(session), FacetRepository(session)

        def report(what: str, found: object, work: Callable[..., object], *given: object) -> None:
            nonlocal base
            taken = median_s(partial(work, *given), times)
            base = base or taken
            print(f"{what:50} {found!s:>10} {taken * 1e3:9.1f} ms  {taken / base:6.2f} x", flush=True)

        for condition in CONDITIONS:
            filters = Filters(project, where=parse_where(condition))
            report(f"count where {condition}", extractions.count(filters), extractions.count, filters)
        first = Filters(project, where=parse_where(BASE))
        report(f"the first 10 where {BASE}", "", partial(extractions.list_ids, limit=10), first)
        everything = Filters(project)
        total = extractions.count(everything)
        for sort in ("-created", "changed", "-price.amount"):
            listed = partial(extractions.list_sorted, limit=10)
            report(f"the first 10 sorted by {sort}", "", listed, parse_order(sort), 2**30, everything)
        for by in ("type", "country", "price.amount", "tags"):
            report(f"counts by {by}", "", facets.facet, everything, total, by, parse_path(by), 10)


def main() -> None:
    """Read the options, fill a database, and measure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--facts", type=int, default=1_000_000)
    options.add_argument("--postgres", action="store_true")
    options.add_argument("--times", type=int, default=3)
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
        measure(engine, project, given.times)


if __name__ == "__main__":
    main()
