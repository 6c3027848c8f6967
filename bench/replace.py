"""A replace of stored facts, against their first ingest and against LangChain.

Ours are commands in separate processes, on a new folder: ``ingest`` of the file, ``ingest --replace
source`` of the same file, and of one in which 1 % of the facts differ. Their rates count from
opening the file to the last mark. LangChain's is the second ``index(cleanup="scoped_full")`` of the
same documents with its SQL record manager, for the first ones only. The page of the feed is read by
the service, on a ledger of a million entries.

    python bench/replace.py [FILE] [--count 50000] [--per-source 1] [--langchain 2000]
                            [--entries 1000000]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _setup import EXAMPLE, ROOT, read_extractions
from ingest import langchain

PAGE = 1_000


def ingest(folder: str, file: Path, *options: str) -> dict[str, Any]:
    """Run the command; return its report."""
    command = [sys.executable, "-m", "app.entrypoints.cli", "ingest", str(file), "--json", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def write(path: Path, items: list[dict[str, Any]]) -> Path:
    """Write a file of JSON lines."""
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def follow(items: list[dict[str, Any]]) -> dict[str, float]:
    """Measure facts a second: ingested first, replaced unchanged, and with 1 % changed."""
    other = [
        {**item, "data": {**item["data"], "fact_text": f"{item['data']['fact_text']} Changed."}}
        if number % 100 == 0
        else item
        for number, item in enumerate(items)
    ]
    with tempfile.TemporaryDirectory() as folder:
        same, some = write(Path(folder, "same.jsonl"), items), write(Path(folder, "some.jsonl"), other)
        first = ingest(folder, same)
        unchanged = ingest(folder, same, "--replace", "source")
        changed = ingest(folder, some, "--replace", "source", "--allow-mass-delete")
        if unchanged["indexed"] or unchanged["unchanged"] != len(items):
            raise RuntimeError(f"a replace of the same changed something: {unchanged}")
    reports = {"first": first, "unchanged": unchanged, "changed": changed}
    return {name: len(items) / report["seconds"] for name, report in reports.items()}


def page_of_changes(entries: int) -> float:
    """Milliseconds for a page of 1,000 changes, late in a ledger with one fact per entry."""
    from app.domain.changes import FeedPlace
    from app.domain.items import parse_item
    from app.domain.sources import ReplaceOptions, SourceFacts
    from containers import create_container, running

    async def measure(folder: str) -> float:
        os.environ["DATABASE_URL"] = f"sqlite:///{folder}/bench.db"
        os.environ["QDRANT_MODE"] = "memory"
        with running(create_container()) as container:
            for start in range(0, entries, 5_000):
                sources = [
                    SourceFacts(uri, [parse_item(_raw(uri), ("text",))])
                    for uri in (f"doc:{number}" for number in range(start, start + 5_000))
                ]
                await container.ingestion().replace("bench", sources, ReplaceOptions())
            place = (await container.changes().feed("bench", limit=1)).place
            late = FeedPlace(place.epoch, entries - 5_000, 0)
            taken = []
            for _ in range(20):
                started = time.perf_counter()
                page = await container.changes().feed("bench", after=late, limit=PAGE)
                taken.append(time.perf_counter() - started)
                if len(page.changes) != PAGE:
                    raise RuntimeError(f"a page of {len(page.changes)}")
                late = page.place if page.place.number < entries - 1_000 else late
            return statistics.median(taken) * 1_000

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure(folder))


def _raw(uri: str) -> dict[str, Any]:
    return {"source_uri": uri, "extraction_type": "fact", "data": {"text": f"what {uri} says"}}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--per-source", type=int, default=1, help="how many facts a source has")
    parser.add_argument("--langchain", type=int, default=2_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    given = parser.parse_args()
    items = read_extractions(given.file, given.count)
    for number, item in enumerate(items):
        item["source_uri"] = f"doc:{number // given.per_source}"
    rates = follow(items)
    for name in ("unchanged", "changed"):
        print(
            f"replace, {name}: {rates[name]:,.0f} facts/s, {rates[name] / rates['first']:.2f} x the first ingest"
        )
    if given.langchain:
        theirs = langchain(items[: given.langchain], cleanup="scoped_full", times=2)
        ratio = rates["unchanged"] / theirs
        print(f"LangChain's second index(): {theirs:,.0f} documents/s; ours are {ratio:.1f} x that")
    if given.entries:
        print(f"a page of 1,000 changes at {given.entries:,} entries: {page_of_changes(given.entries):.1f} ms")


if __name__ == "__main__":
    main()
