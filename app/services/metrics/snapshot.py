"""The metrics at one moment, as plain values to print or export."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.executor import LaneStats
from app.services.storage.repositories.job_totals import Total


@dataclass(frozen=True, slots=True)
class JobDurationStats:
    """Durations of the completed jobs of a type, from start to completion."""

    avg_seconds: float
    min_seconds: float
    max_seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The engine's connections: the pool's size, those in use, and those open beyond ``size``.

    ``checked_out`` is None if the pool doesn't count: an in-memory database has one connection for
    all. ``waits`` counts requests for a connection while all were in use.
    """

    size: int
    checked_out: int | None
    overflow: int
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics. SQL's figures are from one transaction; the gauges don't count it.

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
        """The metrics as a JSON object: jobs by type, then by status; lanes by name."""
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
    """A scrape's figures from SQL, read in one transaction.

    ``totals`` counts the jobs that have ended, ``open_jobs`` the others by type and status.
    ``due_seconds`` is how long the longest waiting queued job has been due, by type. Only
    ``extractions`` may be a little older.
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
