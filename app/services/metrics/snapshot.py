"""What the metrics say at one moment: plain values, for whoever prints or exports them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.executor import LaneStats
from app.services.storage.repositories.job_totals import Total


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

    ``checked_out`` is None where the pool doesn't count: an in-memory database has one connection
    for all. ``waits`` counts how often one was asked for while all were in use.
    """

    size: int
    checked_out: int | None
    overflow: int
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Everything measured. What comes from SQL belongs to one transaction, which the gauges don't count.

    ``jobs`` counts by type and status, ``extractions`` by type. ``orphans`` are extractions without
    a vector that are still to be embedded; those ``set_aside`` are not among them.
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
            "job_durations": {job_type: asdict(stats) for job_type, stats in self.job_durations.items()},
            "jobs": self._jobs_by_type(),
            "extractions": dict(self.extractions),
            "orphans": self.orphans,
            "set_aside": self.set_aside,
            "pool": asdict(self.pool),
            "lanes": {lane.name: _without_name(lane) for lane in self.lanes},
        }

    def _jobs_by_type(self) -> dict[str, dict[str, int]]:
        by_type: dict[str, dict[str, int]] = {}
        for (job_type, status), count in self.jobs.items():
            by_type.setdefault(job_type, {})[status] = count
        return by_type


@dataclass(frozen=True, slots=True)
class StoreSample:
    """What a scrape reads from SQL, in one transaction.

    ``totals`` counts the jobs that have ended, ``open_jobs`` the others by type and status.
    ``due_seconds`` is, by type, how long the queued job has been due that has waited longest.
    ``extractions`` is the only figure that may be a little older.
    """

    totals: tuple[Total, ...]
    open_jobs: Mapping[tuple[str, str], int]
    due_seconds: Mapping[str, float]
    extractions: int
    orphans: int
    set_aside: int


def _without_name(lane: LaneStats) -> dict[str, Any]:
    counters = asdict(lane)
    del counters["name"]
    return counters
