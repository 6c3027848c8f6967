"""Exports against a minimal baseline: rows from the driver, with the same serialization.

    python bench/export.py [--extractions 100000] [--repeats 5] [--folder DIR]

The baseline on SQLite is one `SELECT` by `sqlite3`, row by row; on PostgreSQL, `COPY ... TO STDOUT`
by psycopg. Both write lines by the product's encoder. Each contestant runs in a separate process;
they take turns. Rates are medians, by the clock and by the CPU time of the process (without the
server's). Ratios are medians of the ratios of all turns. Peak memory is that of the command, for
JSON lines and Parquet, writing everything to a file.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _setup import ROOT, postgres_server

if TYPE_CHECKING:
    from app.config import Settings
    from app.domain.export import ExportRow
    from containers import Container

BATCH = 1_000
PROJECT = "bench"
LEAST_RATE, LEAST_RATIO = 40_000, 0.8
_QUERY = """
    SELECT {id}, s.uri, s.source_group, e.extraction_type, e.confidence, {metadata}, {data}
    FROM extractions e JOIN sources s ON s.id = e.source_id ORDER BY e.id
"""


def raw(number: int) -> dict[str, Any]:
    """A fact of about 400 bytes as a JSON line."""
    return {
        "source_uri": f"https://example.org/documents/{number // 4}",
        "source_group": f"group-{number // 4 % 5}",
        "extraction_type": "fact",
        "confidence": number % 997 / 997,
        "metadata": {"page": number, "share": number / 7},
        "data": {
            "fact_text": f"fact number {number} " + "of a document that says this and that " * 4,
            "n": number,
        },
    }


def settings_of(url: str) -> "Settings":
    """A store on this database, with the parts that take no time."""
    from app.config import Settings
    from app.settings.sections import DatabaseSettings, EmbeddingSettings, QdrantSettings

    return Settings(
        database=DatabaseSettings(url=url),
        qdrant=QdrantSettings(mode="memory"),
        embedding=EmbeddingSettings(provider="deterministic"),
    )


def fill(url: str, extractions: int) -> None:
    """Make a store of ``extractions``, not indexed."""
    from app.domain.items import parse_item
    from containers import create_container, running

    settings = settings_of(url)

    async def accept(container: "Container") -> None:
        for start in range(0, extractions, BATCH):
            numbers = range(start, min(start + BATCH, extractions))
            await container.ingestion().accept(
                PROJECT, [parse_item(raw(number), ("fact_text",)) for number in numbers]
            )

    with running(create_container(settings), migrate=True) as container:
        asyncio.run(accept(container))
        with container.engine().begin() as connection:
            connection.exec_driver_sql("ANALYZE")  # as autovacuum does within a minute


# --- the contestants: each writes all lines to a file ---------------------------------------------


def ours(url: str, file: Path) -> None:
    """Export by the service and its encoder, on the container's threads."""
    from app.domain.export import ExportFormat
    from app.services.export.formats import encoder_of
    from containers import create_container, running

    settings = settings_of(url)

    async def export(container: "Container") -> None:
        encoder = encoder_of(ExportFormat.JSONL)
        lane = container.files_lane()
        with file.open("wb") as lines:
            async for page in container.export().pages(PROJECT):
                await lane.run(lambda rows: lines.write(encoder.page(rows)), page.rows)

    with running(create_container(settings)) as container:
        gc.freeze()  # as the command does
        with timed():
            asyncio.run(export(container))


def by_driver(url: str, file: Path) -> None:
    """Write the rows of the driver, a thousand at a time."""
    from app.domain.export import ExportFormat, ExportRow
    from app.services.export.formats import encoder_of

    encoder = encoder_of(ExportFormat.JSONL)
    with file.open("wb") as lines, timed():
        rows: list[ExportRow] = []
        for row in _copied(url) if url.startswith("postgresql") else _selected(url):
            rows.append(row)
            if len(rows) == BATCH:
                lines.write(encoder.page(rows))
                rows = []
        lines.write(encoder.page(rows))


def _selected(url: str) -> "Iterator[ExportRow]":
    import sqlite3

    from app.domain.export import ExportRow

    query = _QUERY.format(id="e.id", metadata="e.metadata", data="e.data")
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    yield from map(ExportRow._make, connection.execute(query))
    connection.close()


def _copied(url: str) -> "Iterator[ExportRow]":
    import psycopg

    from app.domain.export import ExportRow

    query = _QUERY.format(id="e.id::text", metadata="e.metadata::text", data="e.data::text")
    types = ["text", "text", "text", "text", "float8", "text", "text"]
    with psycopg.connect(url) as connection, connection.cursor().copy(f"COPY ({query}) TO STDOUT") as copy:
        copy.set_types(types)
        yield from map(ExportRow._make, copy.rows())


class timed:  # noqa: N801 - a context manager
    """Prints the seconds that a block took, by the clock and by this process's CPU time."""

    def __enter__(self) -> None:
        """Start the clocks."""
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        """Print the times."""
        clock, cpu = self._began
        print(json.dumps([time.perf_counter() - clock, time.process_time() - cpu]))


CONTESTANTS = {"ours": ours, "driver": by_driver}


# --- the contest ----------------------------------------------------------------------------------


def run(contestant: str, url: str, file: Path) -> tuple[float, float]:
    """Run a contestant in a separate process; return its seconds by the clock and of CPU."""
    command = [sys.executable, __file__, "--contestant", contestant, "--url", url, "--file", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    clock, cpu = json.loads(done.stdout)
    return clock, cpu


def contest(url: str, extractions: int, repeats: int, folder: Path) -> float:
    """Print the rates and the ratio on one database; return the product's rate by the clock."""
    kind = url.partition(":")[0]
    turns = []
    for _ in range(repeats):
        turns.append({name: run(name, url, folder / f"{name}.jsonl") for name in CONTESTANTS})
        assert len({(folder / f"{name}.jsonl").read_bytes() for name in CONTESTANTS}) == 1
    for which, by in enumerate(("clock", "CPU")):
        rates = {
            name: extractions / statistics.median(turn[name][which] for turn in turns) for name in CONTESTANTS
        }
        ratio = statistics.median(turn["driver"][which] / turn["ours"][which] for turn in turns)
        print(
            f"{kind:12}{by:6}{rates['ours']:10,.0f} rows/s; only the driver {rates['driver']:10,.0f}; "
            f"{ratio:.2f} x"
        )
    return extractions / statistics.median(turn["ours"][0] for turn in turns)


def peak_mb(url: str, form: str, folder: Path) -> int:
    """Run the command; return its peak memory in MB."""
    file = folder / f"out.{form}"
    command = [
        sys.executable,
        "-m",
        "app.entrypoints.cli",
        "export",
        "-p",
        PROJECT,
        "--format",
        form,
        "-o",
        str(file),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": url, "QDRANT_MODE": "memory"}
    script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=file.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return int(done.stdout) // 1_024


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--extractions", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        CONTESTANTS[given.contestant](given.url, given.file)
        return
    with tempfile.TemporaryDirectory(prefix="export-", dir=given.folder) as folder:
        sqlite = f"sqlite:///{folder}/bench.db"
        with postgres_server(Path(folder)) as postgres:
            for url in (sqlite, postgres):
                fill(url, given.extractions)
                contest(url, given.extractions, given.repeats, Path(folder))
        for form in ("jsonl", "parquet"):
            print(f"the command's peak memory, {form}: {peak_mb(sqlite, form, Path(folder))} MB")
    print(f"the aims: {LEAST_RATE:,} rows/s on SQLite, {LEAST_RATIO} x on PostgreSQL")


if __name__ == "__main__":
    main()
