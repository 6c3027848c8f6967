"""Health and metrics."""

from pydantic import BaseModel


class Part(BaseModel):
    """The health of one component."""

    part: str
    ok: bool
    latency_seconds: float
    error: str | None


class Readiness(BaseModel):
    """Whether the service is ready, with the health of each component."""

    ok: bool
    parts: list[Part]


class Durations(BaseModel):
    """The durations of the completed jobs of one type."""

    avg_seconds: float
    min_seconds: float
    max_seconds: float
    count: int


class PoolUse(BaseModel):
    """The connection pool; ``checked_out`` is null if the pool doesn't count."""

    size: int
    checked_out: int | None
    overflow: int
    waits: int


class LaneUse(BaseModel):
    """A lane's current use, and its counters since the start, which never decrease."""

    limit: int
    active: int
    waiting: int
    rejected: int
    finished: int
    wait_seconds: float
    run_seconds: float


class Measurements(BaseModel):
    """A snapshot of all metrics; ``jobs`` by type and status, ``extractions`` by type."""

    job_durations: dict[str, Durations]
    jobs: dict[str, dict[str, int]]
    extractions: dict[str, int]
    orphans: int
    set_aside: int
    pool: PoolUse
    lanes: dict[str, LaneUse]


class Liveness(BaseModel):
    """The answer of a running process."""

    ok: bool
