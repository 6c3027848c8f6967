"""The distribution of the pool's threads among the lanes."""

from typing import Literal

from app.settings.sections import FEWEST_WORKERS, DatabaseSettings, ExecutorSettings, QdrantSettings

LaneName = Literal["database", "qdrant", "embedding", "files"]
LaneLimits = dict[LaneName, int]


def lane_limits_of(
    executor: ExecutorSettings, database: DatabaseSettings, qdrant: QdrantSettings
) -> LaneLimits:
    """Return each lane's threads: as configured, else a share of ``executor.max_workers``.

    The embedded and memory engines, and SQLite in memory, always get one thread, because they take
    one call at a time.
    """
    workers = executor.max_workers
    share = min(workers // 2, workers - FEWEST_WORKERS + 1)
    of_database = 1 if database.in_memory else executor.database_limit or share
    of_embedding = executor.embedding_limit or max(1, workers // 8)
    of_files = 1
    rest = max(1, workers - of_database - of_embedding - of_files)
    of_qdrant = executor.qdrant_limit or rest if qdrant.mode == "server" else 1
    return {"database": of_database, "qdrant": of_qdrant, "embedding": of_embedding, "files": of_files}


def qdrant_limit(most: int | None, executor: ExecutorSettings, limits: LaneLimits) -> int:
    """Return the Qdrant lane's threads for a client of ``most`` calls at once; None is no limit."""
    others = sum(limit for name, limit in limits.items() if name != "qdrant")
    configured = executor.qdrant_limit or max(1, executor.max_workers - others)
    return configured if most is None else min(most, configured)
