"""Vectors stored a second: the repository's upsert_batch, the bare engine, and QdrantClient.

All store the same points of 384 dimensions on disk, with the same payload; the bare engine has the
same payload indexes. QdrantClient runs on a path. Run with ``python bench/qdrant_upsert.py``.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import closing

import numpy as np
import qdrant_edge as edge
from _setup import lane
from loop_stall import DIMENSION, make_items
from qdrant_client import QdrantClient, models

from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.points import EmbeddingItem
from app.services.storage.qdrant.ports import COLLECTION, FLOAT_FIELDS, KEYWORD_FIELDS
from app.services.storage.qdrant.repository import QdrantRepository
from app.settings.sections import QdrantSettings

BATCH = 256


def raw_shard(folder: str, items: list[EmbeddingItem]) -> float:
    """Measure points a second of a loop over the bare engine."""
    params = edge.EdgeVectorParams(size=DIMENSION, distance=edge.Distance.Cosine)
    shard = edge.EdgeShard.create(folder, edge.EdgeConfig(vectors=params))
    for field in KEYWORD_FIELDS:
        shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
    for field in FLOAT_FIELDS:
        shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Float))
    started = time.perf_counter()
    for start in range(0, len(items), BATCH):
        points = [edge.Point(i.extraction_id, i.embedding, i.payload) for i in items[start : start + BATCH]]  # type: ignore[arg-type]  # takes numpy rows too
        shard.update(edge.UpdateOperation.upsert_points(points))
    rate = len(items) / (time.perf_counter() - started)
    shard.close()
    return rate


def repository(folder: str, items: list[EmbeddingItem]) -> float:
    """Measure points a second of ``upsert_batch``."""

    async def run() -> float:
        client = open_vector_client(QdrantSettings(mode="embedded", path=folder))
        with closing(client), lane("qdrant") as its_lane:
            qdrant = QdrantRepository(client, its_lane, dimension=DIMENSION)
            await qdrant.init_collection()
            started = time.perf_counter()
            for start in range(0, len(items), BATCH):
                await qdrant.upsert_batch(items[start : start + BATCH])
            return len(items) / (time.perf_counter() - started)

    return asyncio.run(run())


def client_on_path(folder: str, items: list[EmbeddingItem]) -> float:
    """Measure points a second of qdrant-client's own embedded mode."""
    client = QdrantClient(path=folder)
    client.create_collection(
        COLLECTION, vectors_config=models.VectorParams(size=DIMENSION, distance=models.Distance.COSINE)
    )
    started = time.perf_counter()
    for start in range(0, len(items), BATCH):
        points = [
            models.PointStruct(id=i.extraction_id, vector=np.asarray(i.embedding).tolist(), payload=i.payload)
            for i in items[start : start + BATCH]
        ]
        client.upsert(COLLECTION, points)
    rate = len(items) / (time.perf_counter() - started)
    client.close()
    return rate


def measure(store: Callable[[str, list[EmbeddingItem]], float], items: list[EmbeddingItem]) -> float:
    """Run ``store`` once in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        return store(folder, items)


def compare(items: list[EmbeddingItem], slow_points: int, runs: int) -> None:
    """Measure the three and print their ratios; the first two in turns."""
    pairs = [(measure(raw_shard, items), measure(repository, items)) for _ in range(runs)]
    raw, ours = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    slow = measure(client_on_path, items[:slow_points])
    print(f"  raw EdgeShard           {raw:7.0f} points/s")
    print(
        f"  upsert_batch, embedded  {ours:7.0f} points/s = {ours / raw:.2f} x raw = {ours / slow:.1f} x a path"
    )
    print(f"  QdrantClient(path=...)  {slow:7.0f} points/s, by {slow_points} points")


def main() -> None:
    """Measure with payloads, and with vectors only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--slow-points", type=int, default=768, help="for QdrantClient on a path")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"{arguments.points} points of {DIMENSION} dimensions in calls of {BATCH}; median of {arguments.runs} runs"
    )
    for title, payload in (("four payload fields, all indexed", True), ("vectors only", False)):
        print(title)
        items = make_items(np.random.default_rng(7), arguments.points, payload=payload)
        compare(items, arguments.slow_points, arguments.runs)


if __name__ == "__main__":
    main()
