"""The cost of each operation at 10,000 to a million extractions, on SQLite and on PostgreSQL.

Vectors are always in the embedded engine, because no package provides a Qdrant server. Each size is
filled in one process, as by `ingest`, and used in another: it opens the stores, searches
(unfiltered, and by project and group), compares them (`verify`), takes the exact snapshot and a
scrape, optimizes the index and searches again. Texts are the example's words, each with the
meanings of others, so they are as long as real ones.

    python bench/scale.py [--sizes 10000 100000] [--stores sqlite postgresql] [--searches 300]
                          [--no-optimize] [--lines FILE]

A million takes about a quarter of an hour and 5 GB in the directory for temporary files, for each
store. Memory is the peak of this process; PostgreSQL's own isn't counted. `--lines` appends the
figures of each run to a file, as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _scale_run import Figures, disk_mb, fill, use
from _setup import postgres_server
from jobs import fresh_database
from sqlalchemy import Engine, create_engine, make_url, text

INTERRUPTED = 130
TABLES = ("extractions", "sources", "jobs")
ROWS = {  # what the table shows: its title, its unit and digits, and the figure
    "ingest, over all": ("{:,.0f}/s", "ingest_per_s"),
    "ingest, its last quarter": ("{:,.0f}/s", "ingest_end_per_s"),
    "CPU for each, over all": ("{:,.0f} µs", "ingest_cpu_us"),
    "CPU for each, its last quarter": ("{:,.0f} µs", "ingest_end_cpu_us"),
    "peak memory of it": ("{:,.0f} MB", "ingest_peak_mb"),
    "of it not mapped files": ("{:,.0f} MB", "ingest_own_mb"),
    "on disk: SQL": ("{:,.1f} MB", "sql_mb"),
    "on disk: vectors": ("{:,.1f} MB", "vectors_mb"),
    "opening the stores": ("{:,.2f} s", "open_s"),
    "memory when open": ("{:,.0f} MB", "open_peak_mb"),
    "of it not mapped files ": ("{:,.0f} MB", "open_own_mb"),
    "first search": ("{:,.2f} s", "first_search_s"),
    "search, p50": ("{:,.1f} ms", "search_p50_ms"),
    "search, p99": ("{:,.1f} ms", "search_p99_ms"),
    "by project and group, p50": ("{:,.1f} ms", "search_filtered_p50_ms"),
    "by project and group, p99": ("{:,.1f} ms", "search_filtered_p99_ms"),
    "by project and a value in data, p50": ("{:,.1f} ms", "search_data_p50_ms"),
    "peak memory of searches": ("{:,.0f} MB", "search_peak_mb"),
    "of it not mapped files  ": ("{:,.0f} MB", "search_own_mb"),
    "verify": ("{:,.1f} s", "verify_s"),
    "peak memory of it ": ("{:,.0f} MB", "verify_peak_mb"),
    "of it not mapped files   ": ("{:,.0f} MB", "verify_own_mb"),
    "exact snapshot": ("{:,.0f} ms", "snapshot_ms"),
    "first scrape": ("{:,.0f} ms", "scrape_ms"),
    "what a scrape asks of SQL, p50": ("{:,.1f} ms", "sample_p50_ms"),
    "optimize": ("{:,.0f} s", "optimize_s"),
    "peak memory of it  ": ("{:,.0f} MB", "optimize_peak_mb"),
    "of it not mapped files    ": ("{:,.0f} MB", "optimize_own_mb"),
    "vectors on disk after it": ("{:,.1f} MB", "optimized_vectors_mb"),
    "search after it, p50": ("{:,.1f} ms", "optimized_p50_ms"),
    "search after it, p99": ("{:,.1f} ms", "optimized_p99_ms"),
    "by project and group after it, p50": ("{:,.1f} ms", "optimized_filtered_p50_ms"),
    "by project and group after it, p99": ("{:,.1f} ms", "optimized_filtered_p99_ms"),
    "load when it began, when it ended": ("{}", "load"),
}


# --- the stores -----------------------------------------------------------------------------------


@contextmanager
def sqlite_url(folder: Path) -> Iterator[str]:
    """The URL of a new SQLite file."""
    yield f"sqlite:///{folder / 'a.db'}"


@contextmanager
def postgres_url(folder: Path) -> Iterator[str]:
    """The URL of a new database on a new server, on disk with fsync on."""
    with postgres_server(folder) as url:
        yield fresh_database(url, "scale")


STORES = {"sqlite": sqlite_url, "postgresql": postgres_url}


def sql_sizes(url: str, folder: Path) -> Figures:
    """The disk space of SQL, in MB of 10^6 bytes; on PostgreSQL also by table, with its indexes."""
    if url.startswith("sqlite"):
        return {"sql_mb": disk_mb(*folder.glob("a.db*"))}
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    sizes = {"sql_mb": _bytes(engine, "pg_database_size(current_database())") / 1e6}
    for table in TABLES:
        sizes[f"{table}_mb"] = _bytes(engine, f"pg_total_relation_size('{table}')") / 1e6
        sizes[f"{table}_indexes_mb"] = _bytes(engine, f"pg_indexes_size('{table}')") / 1e6
    engine.dispose()
    return sizes


def _bytes(engine: Engine, expression: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT {expression}")) or 0)


# --- one run --------------------------------------------------------------------------------------


def measure(store: str, size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill and use a new store, each in a separate process."""
    figures: dict[str, Any] = {"store": store, "size": size, "load": [round(os.getloadavg()[0], 1)]}
    with tempfile.TemporaryDirectory(prefix="scale-") as name, STORES[store](Path(name)) as url:
        folder = Path(name)
        figures |= in_a_process("fill", url, folder, size)
        figures |= sql_sizes(url, folder) | {"vectors_mb": disk_mb(folder / "qdrant")}
        figures |= in_a_process("use", url, folder, arguments.searches, optimize=arguments.optimize)
        if arguments.optimize:
            figures["optimized_vectors_mb"] = disk_mb(folder / "qdrant")
    for name in ("snapshot", "scrape"):
        figures[f"{name}_ms"] = figures.pop(f"{name}_s") * 1e3
    figures["load"].append(round(os.getloadavg()[0], 1))
    return figures


def in_a_process(phase: str, url: str, folder: Path, count: int, *, optimize: bool = False) -> Figures:
    """Run this script with ``--run`` in a new process; return the figures that it prints."""
    command = [sys.executable, __file__, "--run", phase, url, str(folder), str(count)]
    command += [] if optimize else ["--no-optimize"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def run_phase(phase: str, url: str, folder: str, count: str, *, optimize: bool) -> Figures:
    """Run one phase, in the process started for it."""
    if phase == "fill":
        return fill(url, Path(folder), int(count))
    return use(url, Path(folder), int(count), optimize=optimize)


# --- the table ------------------------------------------------------------------------------------


def table(runs: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table, with a column for each run."""
    titles = [f"{run['store']}, {run['size']:,}" for run in runs]
    lines = [["", *titles], ["---"] + ["---:"] * len(runs)]
    for title, (form, name) in ROWS.items():
        cells = [_cell(form, run.get(name)) for run in runs]
        if any(cells):
            lines.append([title.rstrip(), *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(form: str, value: Any) -> str:  # noqa: ANN401 - a number or the two loads
    if value is None:
        return ""
    return form.format(", ".join(map(str, value)) if isinstance(value, list) else value)


def main() -> None:
    """Measure each size on each store, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--no-optimize", dest="optimize", action="store_false")
    parser.add_argument("--lines", type=Path, metavar="FILE")
    parser.add_argument("--run", nargs=4, metavar=("PHASE", "URL", "FOLDER", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run_phase(*arguments.run, optimize=arguments.optimize)))
        return
    runs = []
    for store in arguments.stores:
        for size in arguments.sizes:
            print(f"{store}, {size:,} extractions", file=sys.stderr, flush=True)
            runs.append(measure(store, size, arguments))
            if arguments.lines is not None:
                with arguments.lines.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(runs[-1]) + "\n")
    print(table(runs))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
