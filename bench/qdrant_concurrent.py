"""200 concurrent searches of a server that takes 20 ms: the repository against AsyncQdrantClient.

The server is a stub in another process, so the benchmark measures the client's side: queries a
second, the delay of the event loop, and failed calls. Both get the same connection limits. Run with
``python bench/qdrant_concurrent.py``.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager

import httpx
import numpy as np
from _setup import ROOT, lane
from loop_stall import LoopProbe
from qdrant_client import AsyncQdrantClient, QdrantClient

from app.services.storage.qdrant.adapter import Connection, QdrantClientAdapter
from app.services.storage.qdrant.point_calls import CallsByHttp
from app.services.storage.qdrant.ports import COLLECTION, VectorClient
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.qdrant.server import server_client
from app.settings.sections import QdrantSettings

CONCURRENT = 200
THREADS = 32
DIMENSION = 384
DELAY_S = 0.02
LOCAL = httpx.Limits(max_connections=None, max_keepalive_connections=0)
REMOTE = httpx.Limits(max_connections=100, max_keepalive_connections=20)
TESTS = ROOT / "tests"

Query = Callable[[], Awaitable[object]]


@contextmanager
def stub_server() -> Iterator[str]:
    """The URL of a server in another process."""
    command = [sys.executable, "-m", "support.qdrant_stub", "--canned", "--delay", str(DELAY_S)]
    with subprocess.Popen(
        command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


async def measure(name: str, queries: int, query: Query) -> tuple[float, float]:
    """Print and return queries a second and the p99 of the loop's stall in ms."""
    failures = 0

    async def caller() -> None:
        nonlocal failures
        for _ in range(queries // CONCURRENT):
            try:
                await query()
            except Exception:  # noqa: BLE001 - any failure is counted
                failures += 1

    await asyncio.gather(*(query() for _ in range(CONCURRENT)))  # opens the keep-alive connections
    started, cpu = time.perf_counter(), time.process_time()
    async with LoopProbe() as probe:
        await asyncio.gather(*(caller() for _ in range(CONCURRENT)))
    rate = queries / (time.perf_counter() - started)
    cpu_ms = (time.process_time() - cpu) / queries * 1000
    stall = f"stall p99 {probe.p99_ms():6.1f} ms, max {probe.max_ms():6.1f} ms"
    print(f"  {name:34} {rate:6.0f} queries/s, {cpu_ms:.2f} ms of CPU each, {stall}, {failures} failed")
    return rate, probe.p99_ms()


async def with_async_client(url: str, limits: httpx.Limits, queries: int) -> tuple[float, float]:
    """Measure AsyncQdrantClient, as its users call it on an event loop."""
    client = AsyncQdrantClient(url=url, limits=limits, timeout=10, check_compatibility=False)
    vector = [0.05] * DIMENSION
    try:
        return await measure(
            "AsyncQdrantClient", queries, lambda: client.query_points(COLLECTION, vector, limit=10)
        )
    finally:
        await client.close()


async def with_repository(name: str, client: VectorClient, queries: int) -> tuple[float, float]:
    """Measure the repository; closes ``client``."""
    vector = np.full(DIMENSION, 0.05, np.float32)
    with closing(client), lane("qdrant", limit=THREADS, max_waiting=CONCURRENT) as its_lane:
        repository = QdrantRepository(client, its_lane, dimension=DIMENSION)
        return await measure(name, queries, lambda: repository.search(vector, 10))


def adapter(url: str, limits: httpx.Limits) -> QdrantClientAdapter:
    """The repository's client with other connection limits."""
    tls = httpx.create_ssl_context()

    def connect() -> Connection:
        client = QdrantClient(url=url, limits=limits, timeout=10, check_compatibility=False, verify=tls)
        return Connection(client, CallsByHttp(COLLECTION))

    return QdrantClientAdapter(connect, COLLECTION, size=THREADS, batch_size=256)


async def compare(url: str, queries: int) -> None:
    """Measure both clients with each of the connection limits."""
    for title, limits in (
        ("localhost's default limits (no keep-alive)", LOCAL),
        ("100 connections, 20 kept", REMOTE),
    ):
        print(title)
        async_rate, async_stall = await with_async_client(url, limits, queries)
        rate, stall = await with_repository(f"repository, lane of {THREADS}", adapter(url, limits), queries)
        print(f"  ratio: {rate / async_rate:.2f} x the rate, {stall / async_stall:.2f} x the stall")
    print("as the repository opens it")
    own = server_client(QdrantSettings(url=url), THREADS)
    await with_repository(f"repository, lane of {THREADS}", own, queries)


def main() -> None:
    """Measure against a stub server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=4000)
    queries = parser.parse_args().queries
    print(
        f"{CONCURRENT} callers, {queries} queries of {DIMENSION} dimensions, a server of {DELAY_S * 1000:g} ms"
    )
    with stub_server() as url:
        asyncio.run(compare(url, queries))


if __name__ == "__main__":
    main()
