"""How long the event loop is blocked while 16 coroutines each upsert 256 x 384 and search.

Compares the repository, in memory and embedded, with the same client called on the event loop. Run
with ``python bench/loop_stall.py``.
"""

import argparse
import asyncio
import gc
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Self

import numpy as np
from _setup import lane

from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.points import EmbeddingItem, checked_batches, unit_vectors
from app.services.storage.qdrant.ports import PointQuery, VectorClient
from app.services.storage.qdrant.repository import QdrantRepository
from app.settings.sections import QdrantMode, QdrantSettings

COROUTINES = 16
POINTS = 256
DIMENSION = 384
TICK_S = 0.001


class LoopProbe:
    """Ticks every millisecond on the running event loop, and records how late each tick is."""

    async def __aenter__(self) -> Self:
        self._late: list[float] = []
        self._ticking = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            self._late.append(time.perf_counter() - due)

    def p99_ms(self) -> float:
        """The 99th percentile of the ticks' delays."""
        return float(np.percentile(self._late, 99)) * 1000

    def max_ms(self) -> float:
        """The longest delay of a tick."""
        return max(self._late) * 1000


def make_items(rng: np.random.Generator, count: int, *, payload: bool = True) -> list[EmbeddingItem]:
    """Points as the indexing service makes them, or without a payload."""
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    fields = {"project_id": "p", "source_group": "g", "extraction_type": "definition", "confidence": 1.0}
    return [EmbeddingItem(str(uuid.uuid4()), vector, dict(fields) if payload else {}) for vector in vectors]


async def load(rounds: int, work: Callable[[list[EmbeddingItem]], Awaitable[None]]) -> LoopProbe:
    """Run 16 coroutines with ``rounds`` upserts and searches each; return the probe of the loop."""
    rng = np.random.default_rng(7)
    batches = [[make_items(rng, POINTS) for _ in range(rounds)] for _ in range(COROUTINES)]

    async def one(own: list[list[EmbeddingItem]]) -> None:
        for items in own:
            await work(items)

    async with LoopProbe() as probe:
        await asyncio.gather(*map(one, batches))
    return probe


async def through_repository(client: VectorClient, rounds: int) -> LoopProbe:
    """Run the load on the repository, whose calls run on the executor."""
    with lane("qdrant") as its_lane:
        repository = QdrantRepository(client, its_lane, dimension=DIMENSION)
        await repository.init_collection()

        async def work(items: list[EmbeddingItem]) -> None:
            await repository.upsert_batch(items)
            await repository.search(items[0].embedding, 10)

        return await load(rounds, work)


async def on_the_loop(client: VectorClient, rounds: int) -> LoopProbe:
    """Run the load on the bare client, called on the event loop."""
    client.create_collection(DIMENSION)

    async def work(items: list[EmbeddingItem]) -> None:
        for batch in checked_batches(items, DIMENSION, POINTS):
            client.upsert(batch.ids, batch.vectors, batch.payloads)
        await asyncio.sleep(0)
        client.query_points(unit_vectors([items[0].embedding], DIMENSION)[0], PointQuery(10))
        await asyncio.sleep(0)

    return await load(rounds, work)


async def measure(mode: QdrantMode, rounds: int) -> None:
    """Print the stalls of the loop in ``mode``, for both ways."""
    for name, run in (("on the loop", on_the_loop), ("repository", through_repository)):
        with tempfile.TemporaryDirectory() as folder:
            client = open_vector_client(QdrantSettings(mode=mode, path=folder))
            # As the entry points do after start-up: a full collection over everything imported
            # would pause all threads for 60 to 120 ms.
            gc.collect()
            gc.freeze()
            started = time.perf_counter()
            probe = await run(client, rounds)
            rate = COROUTINES * rounds * POINTS / (time.perf_counter() - started)
            client.close()
        print(
            f"{mode:9} {name:12} stall p99 {probe.p99_ms():6.1f} ms, max {probe.max_ms():6.1f} ms; {rate:7.0f} points/s"
        )


def main() -> None:
    """Measure in memory and embedded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="upserts and searches a coroutine")
    rounds = parser.parse_args().rounds
    print(
        f"{COROUTINES} coroutines x {rounds} rounds of one upsert of {POINTS} x {DIMENSION} and one search, one lane slot"
    )
    modes: tuple[QdrantMode, ...] = ("memory", "embedded")
    for mode in modes:
        asyncio.run(measure(mode, rounds))


if __name__ == "__main__":
    main()
