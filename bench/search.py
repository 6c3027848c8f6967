"""Search end to end with the embedded default, before and after ``optimize``.

A search embeds the query, ranks, and loads the rows from SQL. Prints the median of each kind of
search, and its ratio to the engine's part: the raw ``query`` of the same vectors.

    python bench/search.py FILE [--searches 200]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from _setup import EXAMPLE

from app.config import Settings
from app.domain.filters import Filters
from app.domain.search import Query
from app.intake.opening import open_rows
from app.intake.where_text import parse_where
from app.services.storage.qdrant.ports import PointQuery
from containers import Container, create_container, running

WORDS = ("a person who teaches", "a vehicle with wheels", "speak loudly", "large and heavy", "an edible fruit")


async def fill(container: Container, file: Path, fields: tuple[str, ...]) -> int:
    """Store and index the whole file; return the number of extractions."""
    stored, worker = 0, container.worker()
    await container.indexing().prepare()
    with open_rows(str(file), fields) as reader:
        while (batch := reader.next_batch(5_000)) is not None:
            stored += len((await container.ingestion().accept("wordnet", batch.items)).new)
            while await worker.run_one() is not None:
                pass
    return stored


async def median_ms(search: Callable[[int], Awaitable[Any]], count: int) -> float:
    """The median of ``count`` calls, in milliseconds, after ten calls of warm-up."""
    taken = []
    for number in range(-10, count):
        started = time.perf_counter()
        await search(number)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[10:]) * 1e3


async def report(container: Container, title: str, count: int) -> None:
    """Time each kind of search and the raw query of the same vectors."""
    search, engine = container.search(), container.qdrant_client()
    vectors = await container.embedder().embed(WORDS)

    async def raw(number: int) -> None:
        engine.query_points(vectors[number % len(WORDS)], PointQuery(10))

    def kind(project: str | None = None, **filters: Any) -> Callable[[int], Awaitable[Any]]:  # noqa: ANN401 - as Filters takes them
        return lambda number: search.search(
            Query(WORDS[number % len(WORDS)], project, filters=Filters(**filters))
        )

    base = await median_ms(raw, count)
    print(f"{title}: the engine's own query {base:.2f} ms")
    for name, call in {
        "unfiltered": kind(),
        "by project": kind(project="wordnet"),
        "by project and group": kind(project="wordnet", source_groups=("noun.animal",)),
        "by project and a value in data": kind(project="wordnet", where=parse_where("term = bank")),
    }.items():
        took = await median_ms(call, count)
        print(f"  {name:32} {took:7.2f} ms   {took / base:5.2f} x the engine's own")


def main() -> None:
    """Fill a new folder, search, optimize, search again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--searches", type=int, default=200)
    arguments = parser.parse_args()

    async def run(container: Container, fields: tuple[str, ...]) -> None:
        stored = await fill(container, arguments.file, fields)
        await report(container, f"{stored:,} extractions", arguments.searches)
        await container.qdrant_repository().optimize()
        await report(container, "after optimize", arguments.searches)

    with tempfile.TemporaryDirectory() as folder:
        stores = {"database": {"url": f"sqlite:///{folder}/a.db"}, "qdrant": {"path": f"{folder}/qdrant"}}
        settings = Settings.model_validate(stores)
        with running(create_container(settings)) as container:
            asyncio.run(run(container, settings.embedding.text_fields))


if __name__ == "__main__":
    main()
