"""One process of ``scale.py``: fills a store or uses a filled one, and prints figures as JSON."""

import asyncio
import json
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from _setup import read_extractions

PROJECT = "wordnet"
GROUP = "noun.animal"
WARMING = 10
LONG = 50_000
"""From this number on, the last quarter has enough batches to be measured."""

Figures = dict[str, float]


class Moment(NamedTuple):
    """How many extractions were indexed by a time, and the CPU time of this process until then."""

    indexed: int
    wall_s: float
    cpu_s: float


# --- what is stored -------------------------------------------------------------------------------


def extractions() -> Iterator[dict[str, Any]]:
    """The example's extractions, then the words of each with the meaning of another.

    Always the same, and all different. A text is as long as a real definition, and has its own
    source. There are as many as there are pairs, four million.
    """
    known = read_extractions()
    for step in range(len(known)):
        for place, words in enumerate(known):
            meaning = known[(place + step) % len(known)]
            fact = f"{_words(words)}: {_meaning(meaning)}"
            data = meaning["data"] | {"term": words["data"]["term"], "fact_text": fact}
            uri = f"{words['source_uri']}+{step}" if step else words["source_uri"]
            yield meaning | {"source_uri": uri, "data": data}


def _words(item: dict[str, Any]) -> str:
    return str(item["data"]["fact_text"]).partition(": ")[0]


def _meaning(item: dict[str, Any]) -> str:
    return str(item["data"]["fact_text"]).partition(": ")[2]


def write_lines(file: Path, count: int) -> None:
    """Write the first ``count`` extractions as JSON lines."""
    written = 0
    with file.open("w", encoding="utf-8") as lines:
        for each in islice(extractions(), count):
            lines.write(json.dumps(each) + "\n")
            written += 1
    if written < count:
        raise ValueError(f"there are only {written:,} distinct extractions, not {count:,}")


# --- how it is measured ---------------------------------------------------------------------------


@contextmanager
def peak_mb(figures: Figures, name: str) -> Iterator[None]:
    """Record the peak memory of this process, and its anonymous memory at the end, in MB.

    The rest is mapped files, such as the vectors, which the system can reclaim.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the high-water mark
    yield
    status = Path("/proc/self/status").read_text(encoding="ascii")
    for title, field in (("peak", "VmHWM"), ("own", "RssAnon")):
        figures[f"{name}_{title}_mb"] = int(status.partition(f"{field}:")[2].split()[0]) / 1024


@contextmanager
def seconds(figures: Figures, name: str) -> Iterator[None]:
    """Record the duration of the block."""
    started = time.perf_counter()
    yield
    figures[f"{name}_s"] = time.perf_counter() - started


def disk_mb(*paths: Path) -> float:
    """The disk space of files and folders, in MB of 10^6 bytes."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file()) / 1e6


async def latencies(figures: Figures, name: str, calls: Sequence[Callable[[], Awaitable[Any]]]) -> None:
    """Record the median and the 99th percentile of the calls, in ms, after a warm-up."""
    taken = []
    for call in calls:
        started = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - started) * 1e3)
    counted = taken[WARMING:] or taken
    figures[f"{name}_p50_ms"] = statistics.median(counted)
    figures[f"{name}_p99_ms"] = statistics.quantiles(counted, n=100, method="inclusive")[-1]


# --- the phases -----------------------------------------------------------------------------------


def settings_of(database_url: str, folder: Path) -> Any:  # noqa: ANN401 - imported late
    """The default settings on these stores."""
    from app.config import Settings

    return Settings.model_validate(
        {"database": {"url": database_url}, "qdrant": {"path": str(folder / "qdrant")}}
    )


def fill(database_url: str, folder: Path, count: int) -> Figures:
    """Run ``ingest``, and measure its rate overall and in the last quarter."""
    from app.cli.ingest import _Ingest
    from app.cli.ingest_report import Report
    from app.cli.input_file import InputFile
    from app.cli.request_run import of_run
    from containers import create_container, running

    settings, file = settings_of(database_url, folder), folder / "extractions.jsonl"
    write_lines(file, count)
    report = Report(PROJECT)
    job = _Ingest(report, InputFile(str(file)), None, of_run(None, ()))
    figures: Figures = {}
    moments: list[Moment] = []

    def note() -> None:
        moments.append(Moment(report.indexed, time.perf_counter(), time.process_time()))

    async def watch() -> None:
        while True:
            note()
            await asyncio.sleep(0.1)

    async def ingest(container: Any) -> None:  # noqa: ANN401 - imported late
        watching = asyncio.create_task(watch())
        await job.run(container, settings.embedding.text_fields, settings.worker.batch_size)
        watching.cancel()
        note()

    with peak_mb(figures, "ingest"), running(create_container(settings), migrate=True) as container:
        asyncio.run(ingest(container))
    if report.indexed != count:
        raise RuntimeError(f"the ingest failed: {report}")
    file.unlink()
    return figures | rates(moments, count)


def rates(moments: Sequence[Moment], count: int) -> Figures:
    """The rates of an ingest of ``count`` extractions, and of the last quarter of a long one."""
    figures: Figures = {}
    parts = {"ingest": moments[0]}
    if count >= LONG:
        parts["ingest_end"] = max(moment for moment in moments if moment.indexed <= 0.75 * count)
    for name, first in parts.items():
        done = count - first.indexed
        figures[f"{name}_per_s"] = done / (moments[-1].wall_s - first.wall_s)
        figures[f"{name}_cpu_us"] = (moments[-1].cpu_s - first.cpu_s) / done * 1e6
    return figures


def use(database_url: str, folder: Path, searches: int, *, optimize: bool) -> Figures:
    """Open the stores in this new process, search, compare, measure, optimize, and search again."""
    figures: Figures = {}
    with seconds(figures, "import"):
        from containers import create_container, running
    with peak_mb(figures, "open"), seconds(figures, "open"):
        opening = running(create_container(settings_of(database_url, folder)))
        container = opening.__enter__()
        runner = asyncio.Runner()
        runner.run(container.indexing().prepare())
    try:
        runner.run(_ask(container, figures, searches))
        if optimize:
            _optimize(runner, container, figures, searches)
    finally:
        runner.close()
        opening.__exit__(None, None, None)
    return figures


async def _ask(container: Any, figures: Figures, searches: int) -> None:  # noqa: ANN401 - imported late
    with seconds(figures, "first_search"):
        await container.search().search(_queries(1)[0])
    with peak_mb(figures, "search"):
        await _search(container, figures, "search", searches)
        await _search_data(container, figures)
    await _compare(container, figures)
    await _measure(container, figures)


async def _search(container: Any, figures: Figures, name: str, searches: int) -> None:  # noqa: ANN401 - likewise
    from app.domain.filters import Filters

    search, filtered = container.search().search, Filters(source_groups=(GROUP,))
    for title, given in ((name, {}), (f"{name}_filtered", {"project": PROJECT, "filters": filtered})):
        queries = _queries(searches + WARMING, **given)
        await latencies(figures, title, [partial(search, query) for query in queries])


async def _search_data(container: Any, figures: Figures) -> None:  # noqa: ANN401 - likewise
    """Search by a value that one in 2,000 extractions has; SQL checks every row of the project."""
    from app.domain.filters import Filters
    from app.intake.where_text import parse_where

    queries = _queries(5, project=PROJECT, filters=Filters(where=parse_where("term = horse")))
    await latencies(figures, "search_data", [partial(container.search().search, query) for query in queries])


def _queries(count: int, **query: Any) -> list[Any]:  # noqa: ANN401 - as Query takes them
    from app.domain.search import Query

    known = read_extractions()
    return [Query(_meaning(known[7 * number % len(known)])[:1_000], **query) for number in range(count)]


async def _compare(container: Any, figures: Figures) -> None:  # noqa: ANN401 - likewise
    with peak_mb(figures, "verify"), seconds(figures, "verify"):
        *_, found = [state async for state in container.reconciliation().run()]
    if found.remaining or found.extractions != found.points:
        raise RuntimeError(f"the stores differ: {found}")


async def _measure(container: Any, figures: Figures) -> None:  # noqa: ANN401 - likewise
    """Measure a process's first scrape, which counts all rows, the exact snapshot, and a sample.

    Later scrapes take only a sample.
    """
    with peak_mb(figures, "metrics"):
        with seconds(figures, "scrape"):
            await container.metrics_exporter().render()
        with seconds(figures, "snapshot"):
            await container.metrics_collector().collect()
        await latencies(figures, "sample", [container.metrics_collector().sample] * 20)


def _optimize(runner: asyncio.Runner, container: Any, figures: Figures, searches: int) -> None:  # noqa: ANN401 - likewise
    # The engine holds the GIL until it is done, so only the kernel can act on Ctrl-C.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    with peak_mb(figures, "optimize"), seconds(figures, "optimize"):
        runner.run(container.qdrant_repository().optimize())
    signal.signal(signal.SIGINT, handler)
    runner.run(_search(container, figures, "optimized", searches))
    figures["load_at_end"] = os.getloadavg()[0]
