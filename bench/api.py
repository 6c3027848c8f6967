"""The HTTP API on the embedded default, against the services called directly.

*Ingest*: consecutive POSTs of 1,000 items (JSON), against ``IngestionService.accept`` with the same
items already parsed; no worker runs. *Search*: 16 concurrent clients over HTTP against 16
coroutines that call ``SearchService.search``, on the same index. *While ingesting*: one client
searches every 50 ms while another posts batches one after the other and a worker indexes them; the
spread of the search latencies counts.

The service is ``agent-storage serve`` in a separate process; the direct calls run in this process.
Both use the same file and take turns.

    python bench/api.py [FILE] [--items 20000] [--rounds 3]
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx2
import orjson
from _setup import EXAMPLE, ROOT, read_extractions

from app.config import Settings
from app.domain.items import Item, parse_item
from app.domain.search import Query
from containers import Container, create_container, running

BATCH = 1_000
CLIENTS = 16
FOUND = 10
FIELDS = ("fact_text", "text", "summary")
QUERIES = ["a person who teaches", "a vehicle with four wheels", "speak in a loud voice", "a small river"]

Raw = dict[str, Any]


@contextmanager
def service(folder: str, workers: int) -> Iterator[str]:
    """The URL of a running service with its data under ``folder``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.entrypoints.cli", "serve", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOGGING_LEVEL": "WARNING"}
    process = subprocess.Popen([*command, "--workers", str(workers)], cwd=folder, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx2.get(f"{url}/health/ready").is_success:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def direct(folder: str) -> Iterator[Container]:
    """A container in this process, with its data under ``folder``."""
    settings = Settings.model_validate(
        {"database": {"url": f"sqlite:///{folder}/direct.db"}, "qdrant": {"path": f"{folder}/direct-qdrant"}}
    )
    with running(create_container(settings)) as container:
        yield container


class Connection:
    """A keep-alive connection with little overhead, since client and service share two cores."""

    def __init__(self, url: str) -> None:
        self._host, port = url.removeprefix("http://").split(":")
        self._port = int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send a request; return the status and the body of the response."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(answer.split(b" ", 2)[1]), await reader.readexactly(length)

    async def post(self, path: str, document: object, status: int = 200) -> Any:  # noqa: ANN401 - JSON
        """Post JSON; return the JSON of the response, which must have ``status``."""
        found, body = await self.request("POST", path, orjson.dumps(document))
        assert found == status, body
        return orjson.loads(body)

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


# --- ingest ---------------------------------------------------------------------------------------


async def ingest_over_http(url: str, project: str, batches: Sequence[Sequence[Raw]]) -> float:
    """Post the batches; return extractions a second."""
    documents = [{"extractions": batch} for batch in batches]
    with closing(Connection(url)) as connection:
        await connection.request("GET", "/health/live")
        started = time.perf_counter()
        for document in documents:
            await connection.post(f"/v1/projects/{project}/extractions", document, 202)
        return sum(map(len, batches)) / (time.perf_counter() - started)


async def ingest_directly(container: Container, project: str, batches: Sequence[Sequence[Item]]) -> float:
    """Call the service with the batches; return extractions a second."""
    ingestion = container.ingestion()
    started = time.perf_counter()
    for batch in batches:
        await ingestion.accept(project, batch)
    return sum(map(len, batches)) / (time.perf_counter() - started)


# --- search ---------------------------------------------------------------------------------------


async def searches_over_http(url: str, count: int) -> float:
    """Search over HTTP; return searches a second with 16 concurrent clients."""
    queries = cycle(QUERIES)

    async def one_client(share: int) -> None:
        with closing(Connection(url)) as connection:
            for _ in range(share):
                found = await connection.post(
                    "/v1/projects/bench/search", {"query": next(queries), "limit": FOUND}
                )
                assert len(found["items"]) == FOUND

    await one_client(CLIENTS)
    started = time.perf_counter()
    await asyncio.gather(*(one_client(count // CLIENTS) for _ in range(CLIENTS)))
    return count / (time.perf_counter() - started)


async def searches_directly(container: Container, count: int) -> float:
    """Call the service; return searches a second with 16 concurrent callers."""
    search, queries = container.search(), cycle(QUERIES)

    async def one_caller(share: int) -> None:
        for _ in range(share):
            assert len(await search.search(Query(next(queries), "bench", FOUND))) == FOUND

    await one_caller(CLIENTS)
    started = time.perf_counter()
    await asyncio.gather(*(one_caller(count // CLIENTS) for _ in range(CLIENTS)))
    return count / (time.perf_counter() - started)


async def index_all(container: Container) -> None:
    """Run the queued jobs."""
    worker = container.worker()
    while await worker.run_one() is not None:
        pass


async def latencies_while_ingesting(url: str, batches: Sequence[Sequence[Raw]], seconds: float) -> list[float]:
    """Measure each search, in seconds, while batches are stored and indexed."""
    found: list[float] = []
    deadline = time.perf_counter() + seconds

    async def ingest() -> None:
        with closing(Connection(url)) as connection:
            for number, batch in enumerate(cycle(batches)):
                if time.perf_counter() > deadline:
                    return
                changed = [{**raw, "source_uri": f"{raw['source_uri']}#{number}"} for raw in batch]
                await connection.post("/v1/projects/other/extractions", {"extractions": changed}, 202)

    ingesting = asyncio.create_task(ingest())
    with closing(Connection(url)) as connection:
        for query in cycle(QUERIES):
            if time.perf_counter() > deadline:
                break
            asked = time.perf_counter()
            await connection.post("/v1/projects/bench/search", {"query": query})
            found.append(time.perf_counter() - asked)
            await asyncio.sleep(0.05)
    await ingesting
    return found


async def wait_until_indexed(url: str) -> None:
    """Wait until no job is queued or running."""
    with closing(Connection(url)) as connection:
        open_jobs = "/v1/jobs?status=queued&status=running"
        while orjson.loads((await connection.request("GET", open_jobs))[1])["items"]:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.2)


Pairs = list[tuple[float, float]]
Batches = Sequence[Sequence[Raw]]


def parsed(batches: Batches) -> list[list[Item]]:
    """Parse the items for the service."""
    return [[parse_item(raw, FIELDS) for raw in batch] for batch in batches]


def compare_ingests(batches: Batches, rounds: int) -> Pairs:
    """Measure extractions a second, over HTTP and called directly, once per round."""
    found, items = [], parsed(batches)
    with tempfile.TemporaryDirectory() as folder, direct(folder) as container, service(folder, 0) as url:
        for number in range(rounds):
            over_http = asyncio.run(ingest_over_http(url, f"round-{number}", batches))
            found.append((over_http, asyncio.run(ingest_directly(container, f"round-{number}", items))))
    return found


def compare_searches(batches: Batches, count: int, rounds: int) -> tuple[Pairs, list[float]]:
    """Measure searches a second in the same way, and search latencies during ingestion, sorted."""
    with tempfile.TemporaryDirectory() as folder, direct(folder) as container, service(folder, 1) as url:
        asyncio.run(ingest_over_http(url, "bench", batches))
        asyncio.run(wait_until_indexed(url))
        asyncio.run(container.indexing().prepare())
        asyncio.run(ingest_directly(container, "bench", parsed(batches)))
        asyncio.run(index_all(container))
        found = [
            (asyncio.run(searches_over_http(url, count)), asyncio.run(searches_directly(container, count)))
            for _ in range(rounds)
        ]
        return found, sorted(asyncio.run(latencies_while_ingesting(url, batches, 15.0)))


def main() -> None:
    """Take turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--searches", type=int, default=800)
    arguments = parser.parse_args()
    raws = read_extractions(arguments.file, arguments.items)
    batches = [raws[start : start + BATCH] for start in range(0, len(raws), BATCH)]
    ingests = compare_ingests(batches, arguments.rounds)
    searches, busy = compare_searches(batches, arguments.searches, arguments.rounds)
    for name, pairs, aim in (("ingest, extractions", ingests, 0.5), ("search, queries", searches, 0.6)):
        http, called = (statistics.median(pair[place] for pair in pairs) for place in range(2))
        print(
            f"{name:20}{http:8,.0f}/s over HTTP, {called:8,.0f}/s called directly: {http / called:.2f} x (aim {aim})"
        )
    p50, p99 = busy[len(busy) // 2], busy[int(len(busy) * 0.99)]
    print(
        f"search while ingesting: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms: {p99 / p50:.1f} x (aim 5), {len(busy)} searches"
    )


if __name__ == "__main__":
    main()
