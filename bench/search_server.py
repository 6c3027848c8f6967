"""Searches on a real Qdrant server: the service, directly and over HTTP, against the raw client.

All queries are different, so that no cache helps. The raw client asks for the same vectors with the
same filter, over HTTP and over gRPC, and gets payloads as the service does. All take turns, one
query at a time.

    python bench/search_server.py [QDRANT [FILE]] [--facts 100000] [--searches 400] [--postgres]

QDRANT is the server's program. FILE has extractions; if more are needed, they are combined.
"""

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from _setup import EXAMPLE, migrated, postgres_server, read_extractions
from api import Connection, service
from qdrant_client import QdrantClient, models

from app.cli.chaos.place import free_ports, qdrant_variables
from app.config import load_settings
from app.domain.ids import project_id_of
from app.domain.items import parse_item
from app.domain.search import Query, SearchMode
from containers import Container, create_container, running

PROJECT = "bench"
FOUND = 10
BATCH = 5_000
CLIENTS = 16
WARM_UP = 20

Call = Callable[[int], Awaitable[object]]


@contextmanager
def qdrant_server(program: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """The ports, for HTTP and gRPC, of a new server with its data under ``folder``."""
    http, grpc = free_ports(2)
    environment = {**os.environ, **qdrant_variables(folder, http, grpc)}
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([program.absolute()], cwd=folder, env=environment)
    try:
        for _ in range(300):
            try:
                if httpx2.get(f"http://127.0.0.1:{http}/readyz").is_success:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        yield http, grpc
    finally:
        process.terminate()
        process.wait(60)


def facts_of(file: Path, count: int) -> list[dict[str, Any]]:
    """``count`` facts: those of the file, then combinations of two of them."""
    known = read_extractions(file)
    made = known[:count]
    for place in range(count - len(made)):
        one, other = known[place % len(known)], known[(place * 7 + 3) % len(known)]
        text = f"{one['data']['fact_text']}, or {other['data']['fact_text']} ({place})"
        made.append({**one, "source_uri": f"{one['source_uri']}#{place}", "data": {"fact_text": text}})
    return made


def queries_of(facts: Sequence[dict[str, Any]], count: int) -> list[str]:
    """``count`` different queries: four consecutive words of a random text."""
    drawn = random.Random(4)  # noqa: S311 - test data, no secret
    queries = dict[str, None]()
    while len(queries) < count:
        words = drawn.choice(facts)["data"]["fact_text"].split()
        start = drawn.randrange(max(1, len(words) - 3))
        queries[" ".join(words[start : start + 4])] = None
    return list(queries)


async def fill(container: Container, facts: Sequence[dict[str, Any]], fields: Sequence[str]) -> None:
    """Store and index the facts."""
    await container.indexing().prepare()
    worker = container.worker()
    for start in range(0, len(facts), BATCH):
        await container.ingestion().accept(
            PROJECT, [parse_item(raw, fields) for raw in facts[start : start + BATCH]]
        )
        while await worker.run_one() is not None:
            pass


async def take_turns(calls: dict[str, Call], count: int) -> dict[str, list[float]]:
    """Measure the calls in seconds, sorted; each contestant takes every query once."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-WARM_UP, count):
        for name, call in calls.items():
            started = time.perf_counter()
            await call(number)
            if number >= 0:
                taken[name].append(time.perf_counter() - started)
    return {name: sorted(seconds) for name, seconds in taken.items()}


async def rate(call: Call, count: int) -> float:
    """Calls a second, 16 at a time."""
    numbers = iter(range(count))

    async def one_client() -> None:
        for number in numbers:
            await call(number)

    started = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(CLIENTS)))
    return count / (time.perf_counter() - started)


def http_calls(connections: Sequence[Connection], queries: Sequence[str]) -> Callable[[SearchMode, int], Call]:
    """Make calls that search over HTTP, each on a free connection."""
    free = list(connections)

    def over_http(mode: SearchMode, shift: int) -> Call:
        async def call(number: int) -> object:
            connection = free.pop()
            body = {"query": queries[(number + shift) % len(queries)], "limit": FOUND, "mode": mode}
            try:
                return await connection.post(f"/v1/projects/{PROJECT}/search", body)
            finally:
                free.append(connection)

        return call

    return over_http


def print_latencies(taken: dict[str, list[float]], clients: Sequence[str]) -> None:
    """Print each contestant's latencies, and their ratios to the raw clients'."""
    bases = [statistics.median(taken[f"raw client, {name}"]) for name in clients]
    for name, seconds in taken.items():
        p50 = statistics.median(seconds)
        ratios = ", ".join(f"{p50 / base:.2f} x {client}" for client, base in zip(clients, bases, strict=True))
        print(
            f"{name:26} p50 {p50 * 1e3:6.1f} ms, p95 {seconds[int(len(seconds) * 0.95)] * 1e3:6.1f} ms: {ratios}"
        )


async def report(
    container: Container, url: str, clients: dict[str, QdrantClient], queries: Sequence[str], count: int
) -> None:
    """Take turns, and print the latencies and the rates."""
    search, collection = container.search(), container.qdrant_repository().collection
    vectors = [vector.tolist() for vector in await container.embedder().embed(queries)]
    of_project = models.FieldCondition(
        key="project_id", match=models.MatchValue(value=str(project_id_of(PROJECT)))
    )
    only = models.Filter(must=[of_project])

    def raw(client: QdrantClient) -> Call:
        async def call(number: int) -> object:
            return client.query_points(collection, vectors[number], query_filter=only, limit=FOUND)

        return call

    def called(mode: SearchMode, shift: int) -> Call:
        return lambda number: search.search(
            Query(queries[(number + shift) % len(queries)], PROJECT, FOUND, mode=mode)
        )

    connections = [Connection(url) for _ in range(CLIENTS)]
    over_http = http_calls(connections, queries)
    calls = {f"raw client, {name}": raw(client) for name, client in clients.items()}
    for place, mode in enumerate(SearchMode):
        calls[f"called directly, {mode}"] = called(mode, place * count)
        calls[f"over HTTP, {mode}"] = over_http(mode, place * count)
    taken = await take_turns(calls, count)
    print_latencies(taken, list(clients))
    for place, mode in enumerate(SearchMode):
        each = await rate(over_http(mode, (place + 3) * count), count)
        print(f"over HTTP, {mode}, {CLIENTS} at a time: {each:.0f}/s")
    for connection in connections:
        connection.close()


def main() -> None:
    """Fill a new store, and search it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("qdrant", type=Path, nargs="?")
    parser.add_argument("file", type=Path, nargs="?", default=EXAMPLE)
    parser.add_argument("--facts", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=400)
    parser.add_argument("--postgres", action="store_true")
    arguments = parser.parse_args()
    if arguments.qdrant is None:
        print("Not run: it needs the program of a Qdrant server.")
        return
    facts = facts_of(arguments.file, arguments.facts)
    queries = queries_of(facts, 6 * arguments.searches)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        http, grpc = stack.enter_context(qdrant_server(arguments.qdrant, folder / "qdrant"))
        database = f"sqlite:///{folder}/bench.db"
        if arguments.postgres:
            database = stack.enter_context(postgres_server(folder))
            with migrated(database):
                pass
        os.environ |= {
            "DATABASE_URL": database,
            "QDRANT_URL": f"http://127.0.0.1:{http}",
            "QDRANT_GRPC_PORT": str(grpc),
        }
        settings = load_settings()
        container = stack.enter_context(running(create_container(settings)))
        asyncio.run(fill(container, facts, settings.embedding.text_fields))
        url = stack.enter_context(service(str(folder), 0))
        clients = {
            "REST": QdrantClient(url=settings.qdrant.url, timeout=30),
            "gRPC": QdrantClient(url=settings.qdrant.url, prefer_grpc=True, grpc_port=grpc, timeout=30),
        }
        for client in clients.values():
            stack.enter_context(closing(client))
        asyncio.run(report(container, url, clients, queries, arguments.searches))


if __name__ == "__main__":
    main()
