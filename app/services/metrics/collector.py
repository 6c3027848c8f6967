"""Collect the metrics: SQL's in one read transaction, the gauges from the parts themselves."""

from functools import partial

from sqlalchemy import Pool, Row, Select, StaticPool, func, select
from sqlalchemy.pool import QueuePool

from app.database import CountingPool, Database, ReadSession
from app.domain.jobs import JobStatus
from app.executor import BoundedExecutor, LaneStats
from app.models import Extraction, Job
from app.services.metrics.dialects import MICROSECONDS, DurationDialect
from app.services.metrics.sampling import StoreSampler
from app.services.metrics.snapshot import JobDurationStats, Metrics, PoolStats, StoreSample

_JOBS = (
    select(Job.type, Job.status, func.count().label("jobs"))
    .group_by(Job.type, Job.status)
    .order_by(Job.type, Job.status)
)
_EXTRACTIONS = (
    select(Extraction.extraction_type.label("type"), func.count().label("extractions"))
    .group_by(Extraction.extraction_type)
    .order_by(Extraction.extraction_type)
)
_WITHOUT_VECTOR = select(
    func.count().filter(Extraction.set_aside_reason.is_(None)), func.count(Extraction.set_aside_reason)
).where(Extraction.embedding_id.is_(None))


class MetricsCollector:
    """Measures on demand: exactly, by counting every row, or cheaply, as for a scrape.

    Ended jobs don't add to the cost of a scrape. ``duration_dialect`` is the strategy for the
    database's dialect. Without an ``executor``, no lanes are reported.
    """

    def __init__(
        self, database: Database, duration_dialect: DurationDialect, executor: BoundedExecutor | None = None
    ) -> None:
        self._database = database
        self._durations_query = _durations_by_type(duration_dialect)
        self._executor = executor
        self._sampler = StoreSampler(database.dialect)

    async def collect(self) -> Metrics:
        """All metrics, by one read transaction in one thread hop. The gauges don't count it.

        Raises:
            DatabaseError: the database couldn't be read.
            Saturated, DeadlineExceeded, ShuttingDown: from the database lane.
        """
        return await self._database.read(partial(self._measure, pool=self.pool(), lanes=self.lanes()))

    async def sample(self) -> StoreSample:
        """A scrape's figures from SQL, with one thread hop and one read transaction.

        Raises what :meth:`collect` raises.
        """
        return await self._database.read(self._sampler.take)

    def pool(self) -> PoolStats:
        """The engine's current connections."""
        return _pool_stats(self._database.engine.pool)

    def lanes(self) -> tuple[LaneStats, ...]:
        """The current counters of all lanes."""
        return tuple(self._executor.stats()) if self._executor else ()

    async def _job_duration_by_type(self) -> dict[str, JobDurationStats]:
        """Durations by type, of completed jobs that have both timestamps."""
        return await self._database.read(self._durations)

    def _durations(self, session: ReadSession) -> dict[str, JobDurationStats]:
        return {row.type: _duration_stats(row) for row in session.execute(self._durations_query)}

    def _measure(self, session: ReadSession, *, pool: PoolStats, lanes: tuple[LaneStats, ...]) -> Metrics:
        orphans, set_aside = session.execute(_WITHOUT_VECTOR).one()
        return Metrics(
            job_durations=self._durations(session),
            jobs={(row.type, row.status): row.jobs for row in session.execute(_JOBS)},
            extractions={row.type: row.extractions for row in session.execute(_EXTRACTIONS)},
            orphans=orphans,
            set_aside=set_aside,
            pool=pool,
            lanes=lanes,
        )


def _durations_by_type(dialect: DurationDialect) -> Select[tuple[str, int, int, int, int, int]]:
    """By job type: the sum of durations in seconds and microseconds, the least, greatest and count.

    Sums of integers are exact, unlike sums of floats; split in two, they don't overflow.
    """
    jobs = (
        select(Job.type, dialect.microseconds_between(Job.started_at, Job.completed_at).label("duration"))
        .where(Job.status == JobStatus.COMPLETED)
        # The OFFSET keeps SQLite from merging the subquery into the outer query, where it would
        # compute the duration once for each aggregate.
        .offset(0)
        .subquery()
    )
    duration = jobs.c.duration
    return (
        select(
            jobs.c.type,
            func.sum(duration // MICROSECONDS).label("seconds"),
            func.sum(duration % MICROSECONDS).label("microseconds"),
            func.min(duration).label("least"),
            func.max(duration).label("greatest"),
            func.count().label("jobs"),
        )
        .where(duration.is_not(None))  # with both timestamps, and readable ones
        .group_by(jobs.c.type)
        .order_by(jobs.c.type)
    )


def _duration_stats(row: Row[tuple[str, int, int, int, int, int]]) -> JobDurationStats:
    # PostgreSQL's sums are Decimals.
    total = int(row.seconds) * MICROSECONDS + int(row.microseconds)
    return JobDurationStats(
        avg_seconds=total / (row.jobs * MICROSECONDS),
        min_seconds=row.least / MICROSECONDS,
        max_seconds=row.greatest / MICROSECONDS,
        count=row.jobs,
    )


def _pool_stats(pool: Pool) -> PoolStats:
    if isinstance(pool, QueuePool):
        # `overflow()` is negative while the pool isn't full.
        overflow = max(0, pool.overflow())
        waits = pool.waits if isinstance(pool, CountingPool) else 0
        return PoolStats(size=pool.size(), checked_out=pool.checkedout(), overflow=overflow, waits=waits)
    return PoolStats(size=int(isinstance(pool, StaticPool)), checked_out=None, overflow=0)
