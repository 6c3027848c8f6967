"""What the metrics say at one moment: plain values, for whoever prints or exports them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.executor import LaneStats


@dataclass(frozen=True, slots=True)
class JobDurationStats:
    """How long the completed jobs of one type ran, from their start to their completion."""

    avg_seconds: float
    min_seconds: float
    max_seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The engine's connections: how many it keeps, how many are in use, and how many beyond ``size`` exist.

    ``checked_out`` is None where the pool doesn't count: an in-memory database has one connection for all.
    """

    size: int
    checked_out: int | None
    overflow: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """Everything measured. What comes from SQL belongs to one transaction, which the gauges don't count.

    ``jobs`` counts by type and status, ``extractions`` by type. ``orphans`` are extractions without a vector
    that are still to be embedded; those ``set_aside`` are not among them.
    """

    job_durations: Mapping[str, JobDurationStats]
    jobs: Mapping[tuple[str, str], int]
    extractions: Mapping[str, int]
    orphans: int
    set_aside: int
    pool: PoolStats
    lanes: tuple[LaneStats, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it: jobs by type, then by status; lanes by name."""
        return {
            "job_durations": {kind: asdict(stats) for kind, stats in self.job_durations.items()},
            "jobs": self._jobs_by_type(),
            "extractions": dict(self.extractions),
            "orphans": self.orphans,
            "set_aside": self.set_aside,
            "pool": asdict(self.pool),
            "lanes": {lane.name: _without_name(lane) for lane in self.lanes},
        }

    def _jobs_by_type(self) -> dict[str, dict[str, int]]:
        by_type: dict[str, dict[str, int]] = {}
        for (kind, status), count in self.jobs.items():
            by_type.setdefault(kind, {})[status] = count
        return by_type


def _without_name(lane: LaneStats) -> dict[str, Any]:
    counters = asdict(lane)
    del counters["name"]
    return counters
