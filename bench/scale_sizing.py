"""Resources for ten million, a billion and a hundred billion extractions: docs/scaling.md's table.

All figures are computed from the constants below. Change them to your own, and run it again.

    python bench/scale_sizing.py [--extractions 1e7 1e9 1e11] [--dimensions 256 1024]
                                 [--load-days 30]
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

# Measured by scale.py at a million extractions of 228 bytes of JSON, each with its own source.
EXTRACTION_BYTES = 760
"""A row of `extractions` on PostgreSQL, with its indexes and the dead rows at the time."""
SOURCE_BYTES = 246
"""A row of `sources`, likewise."""
JOB_BYTES = 42
"""The space of an `embed` job per extraction, until the job is pruned."""
POINT_BYTES = 540
"""Disk space of a point without its vector: id, payload, four payload indexes, graph links."""
WORKER_RATE = 5_000
"""Extractions a second that a worker on two cores reads, embeds (wordllama), indexes and marks."""

# Assumptions; change them to your own.
BLOAT = 1.2
"""The factor for dead rows and half-full pages after years of use."""
KEPT_DAYS = 7
"""`worker.keep_finished`."""
PARTITION_BYTES = 100e9
"""The largest partition for which a vacuum or an index build ends within hours."""
SERVER_BYTES = 4e12
"""The most data on a PostgreSQL server that can be restored within a day at 50 MB/s."""
NODE_RAM_BYTES = 256e9 * 0.8
"""The memory for vectors on a Qdrant node of 256 GB."""
NODE_DISK_BYTES = 8e12 * 0.7
"""The usable disk space of a Qdrant node with 8 TB while segments are rewritten."""
COPIES = 2
"""`qdrant.replication_factor`."""
ENDPOINT_RATE = 500
"""Texts a second of one embedding endpoint with a larger model (1,024 numbers), on one GPU."""
DAY_S = 86_400
RAM_FACTOR = 1.5
"""Qdrant's rule: the vectors, and half as much again for ids, indexes and rewriting segments."""


@dataclass(frozen=True)
class Case:
    """A number of extractions, the dimension of their vectors, and the days to load them in."""

    extractions: float
    dimension: int
    load_days: float

    @property
    def rate(self) -> float:
        """Extractions a second while everything is loaded."""
        return self.extractions / (self.load_days * DAY_S)

    @property
    def sql_bytes(self) -> float:
        """The rows and indexes of extractions and sources, and the finished jobs not pruned yet."""
        rows = self.extractions * (EXTRACTION_BYTES + SOURCE_BYTES)
        recent = min(self.extractions, self.rate * KEPT_DAYS * DAY_S)
        return (rows + recent * JOB_BYTES) * BLOAT

    @property
    def partitions(self) -> int:
        """PostgreSQL partitions of `extractions` and `sources` together."""
        return math.ceil(self.sql_bytes / PARTITION_BYTES)

    @property
    def servers(self) -> int:
        """PostgreSQL primaries; each also has a standby."""
        return math.ceil(self.sql_bytes / SERVER_BYTES)

    @property
    def ram_bytes(self) -> float:
        """All vectors in memory as float32, one copy."""
        return self.extractions * self.dimension * 4 * RAM_FACTOR

    @property
    def quantized_ram_bytes(self) -> float:
        """One byte a number in memory, the float32 originals on disk, one copy."""
        return self.ram_bytes / 4

    @property
    def disk_bytes(self) -> float:
        """The points on disk, with the original and the quantized vectors, one copy."""
        return self.extractions * (self.dimension * (4 + 1) + POINT_BYTES)

    @property
    def nodes(self) -> int:
        """Qdrant nodes with all vectors in memory, for all copies."""
        return self._nodes(self.ram_bytes)

    @property
    def quantized_nodes(self) -> int:
        """The same with quantized vectors in memory."""
        return self._nodes(self.quantized_ram_bytes)

    @property
    def workers(self) -> int:
        """Worker processes with the local embedder, for the load."""
        return math.ceil(self.rate / WORKER_RATE)

    @property
    def endpoints(self) -> int:
        """Embedding endpoints of a larger model instead, for the load."""
        return math.ceil(self.rate / ENDPOINT_RATE)

    def _nodes(self, ram: float) -> int:
        needed = max(ram * COPIES / NODE_RAM_BYTES, self.disk_bytes * COPIES / NODE_DISK_BYTES)
        return max(COPIES, math.ceil(needed))


def spelled(size: float) -> str:
    """Write bytes with a decimal unit."""
    for unit in ("MB", "GB", "TB"):
        size /= 1e6 if unit == "MB" else 1e3
        if size < 1e3:  # noqa: PLR2004 - the next unit begins there
            break
    return f"{size:,.0f} {unit}" if size >= 10 else f"{size:,.1f} {unit}"  # noqa: PLR2004 - two digits


def _counted(number: float) -> str:
    return f"{number:,.0f}"


BY_SIZE: tuple[tuple[str, Callable[[Case], str]], ...] = (
    ("SQL", lambda case: spelled(case.sql_bytes)),
    ("PostgreSQL partitions", lambda case: _counted(case.partitions)),
    ("PostgreSQL servers, without standbys", lambda case: _counted(case.servers)),
    ("extractions a second for the load", lambda case: _counted(case.rate)),
    ("workers for it, wordllama", lambda case: _counted(case.workers)),
    ("or embedding endpoints of a larger model", lambda case: _counted(case.endpoints)),
)
BY_DIMENSION: tuple[tuple[str, Callable[[Case], str]], ...] = (
    ("vectors in memory, float32", lambda case: spelled(case.ram_bytes)),
    ("in memory quantized to int8", lambda case: spelled(case.quantized_ram_bytes)),
    ("on disk", lambda case: spelled(case.disk_bytes)),
    (f"Qdrant nodes, {COPIES} copies, float32", lambda case: _counted(case.nodes)),
    (f"Qdrant nodes, {COPIES} copies, int8", lambda case: _counted(case.quantized_nodes)),
)


def sizing_table(sizes: list[float], dimensions: list[int], load_days: float) -> str:
    """The figures as a Markdown table, with a column for each number of extractions."""
    lines = [["extractions", *(_counted(size) for size in sizes)], ["---"] + ["---:"] * len(sizes)]
    for title, figure in BY_SIZE:
        lines.append([title, *(figure(Case(size, dimensions[0], load_days)) for size in sizes)])
    for dimension in dimensions:
        for title, figure in BY_DIMENSION:
            cases = (Case(size, dimension, load_days) for size in sizes)
            lines.append([f"{dimension:,} numbers: {title}", *map(figure, cases)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extractions", nargs="+", type=float, default=[1e7, 1e9, 1e11])
    parser.add_argument("--dimensions", nargs="+", type=int, default=[256, 1_024])
    parser.add_argument("--load-days", type=float, default=30)
    arguments = parser.parse_args()
    print(sizing_table(arguments.extractions, arguments.dimensions, arguments.load_days))


if __name__ == "__main__":
    main()
