"""Hundreds of concurrent clients on the embedded default: nothing is lost, grows or breaks."""

import json
import os
import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cli import ROOT, environment
from support.processes import TESTS, errors_in, serve_process
from support.service_client import client_of, raw_item

pytestmark = pytest.mark.slow

CLIENTS = int(os.environ.get("TEST_LOAD_CLIENTS", "200"))
SECONDS = float(os.environ.get("TEST_LOAD_SECONDS", "10"))
"""A thorough run takes 500 clients and 30 seconds."""

GROWTH = 1.25
"""The allowed growth of memory from the middle third to the last, for new index data and caches."""


@pytest.mark.parametrize("max_waiting", [1_000, 30])
def test_many_clients_ingest_and_search(tmp_path: Path, max_waiting: int) -> None:
    """With room for all of them, and with too little."""
    settings = {"EMBEDDING_PROVIDER": "wordllama", "EXECUTOR_MAX_WAITING": str(max_waiting)}
    with serve_process(tmp_path, settings) as service, client_of(service.url) as client:
        seeds = [raw_item(-number) for number in range(1, 11)]
        first = [each["id"] for each in client.post(seeds).raise_for_status().json()["items"]]
        with memory_of(service.process.pid) as rss:
            outcome = run_load(service.url.rpartition(":")[2])
        report(outcome, rss)
        statuses = outcome["statuses"]
        assert statuses.keys() <= {"ingest 202", "ingest 503", "search 200", "search 503"}
        assert statuses["ingest 202"] > 0
        assert statuses["search 200"] > 0
        assert outcome["without_retry_after"] == 0
        third = len(rss) // 3
        assert statistics.median(rss[2 * third :]) < statistics.median(rss[third : 2 * third]) * GROWTH
        client.assert_holds({*outcome["ids"].values(), *first})
        ids = {int(number): id_ for number, id_ in outcome["ids"].items()}
        client.assert_finds(ids, random.sample(sorted(ids), 50))
    assert errors_in(service.log) == []


def run_load(port: str) -> dict[str, Any]:
    """The clients, as a process of their own."""
    variables = {**environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    command = [sys.executable, "-m", "support.load", port, str(CLIENTS), str(SECONDS)]
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, timeout=SECONDS + 120, check=True)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


@contextmanager
def memory_of(pid: int) -> Iterator[list[int]]:
    """The bytes that a process holds, looked at again and again meanwhile."""
    found: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found.append(pages * os.sysconf("SC_PAGE_SIZE"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()


def report(outcome: dict[str, Any], rss: list[int]) -> None:
    """Print the figures; seen with ``pytest -rP``."""
    lines = [f"{outcome['statuses']}, {len(outcome['ids'])} extractions accepted"]
    for kind, found in outcome["latencies"].items():
        found.sort()
        p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
        lines.append(
            f"{kind}: {len(found) / SECONDS:,.0f} requests/s, p50 {p50 * 1e3:,.0f} ms, p99 {p99 * 1e3:,.0f} ms, "
            f"most {found[-1] * 1e3:,.0f} ms"
        )
    moments = [rss[int(place * (len(rss) - 1) / 6)] >> 20 for place in range(7)]
    lines.append(f"RSS in MiB at each sixth: {moments}")
    print("\n".join(lines))  # noqa: T201 - for who measures
