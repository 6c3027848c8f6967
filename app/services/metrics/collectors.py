"""Collectors beside the instruments: over a sample of the stores, and over the pool and lanes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from app.domain.jobs import FINAL_STATUSES, OPEN_STATUSES
from app.executor import LaneStats
from app.services.metrics.dialects import MICROSECONDS
from app.services.metrics.snapshot import PoolStats, StoreSample
from app.services.storage.repositories.job_totals import Total

Values = Iterable[tuple[tuple[str, ...], float]]


@dataclass(frozen=True)
class StoreFigures(Collector):
    """Figures from SQL; without a sample, only that the database didn't answer.

    Extractions aren't labelled by type: producers choose the types, and each would be a series.
    """

    sample: StoreSample | None

    def collect(self) -> Iterator[Metric]:
        """See :class:`Collector`."""
        up = "Whether the database answered this scrape (1) or not (0)."
        yield GaugeMetricFamily("agent_storage_database_up", up, value=float(self.sample is not None))
        if self.sample is not None:
            yield from _jobs(self.sample)
            yield from _completed([total for total in self.sample.totals if total.timed])
            yield from _extractions(self.sample)


@dataclass(frozen=True)
class ProcessFigures(Collector):
    """The connection pool and the lanes of this process."""

    pool: PoolStats
    lanes: Sequence[LaneStats]

    def collect(self) -> Iterator[Metric]:
        """See :class:`Collector`."""
        yield from _pool(self.pool)
        yield from _lanes(self.lanes)


def _jobs(sample: StoreSample) -> Iterator[Metric]:
    ended = {(total.type, total.status): total.jobs for total in sample.totals}
    # Report zeros as well, so that the first failure shows as an increase.
    types = sorted({job_type for job_type, _ in ended} | {job_type for job_type, _ in sample.open_jobs})
    yield _counter(
        "agent_storage_jobs_ended",
        "Jobs that have ended, by their final status; pruned ones still count.",
        ("type", "status"),
        [
            ((job_type, status), ended.get((job_type, status), 0))
            for job_type in types
            for status in FINAL_STATUSES
        ],
    )
    yield _gauge(
        "agent_storage_jobs_open",
        "Jobs that have not ended.",
        ("type", "status"),
        [
            ((job_type, status), sample.open_jobs.get((job_type, status), 0))
            for job_type in types
            for status in OPEN_STATUSES
        ],
    )
    yield _gauge(
        "agent_storage_oldest_queued_job_age_seconds",
        "How long the longest waiting queued job has been due; 0 when none is due.",
        ("type",),
        [((job_type,), sample.due_seconds.get(job_type, 0.0)) for job_type in types],
    )


def _completed(totals: Sequence[Total]) -> Iterator[Metric]:
    name, label = "agent_storage_completed_job_duration", ("type",)
    every = "of all completed jobs, from first start to end"
    summary = SummaryMetricFamily(f"{name}_seconds", f"Durations {every}.", labels=label)
    for total in totals:
        summary.add_metric((total.type,), total.timed, total.microseconds / MICROSECONDS)
    yield summary
    shortest = [((total.type,), (total.least or 0) / MICROSECONDS) for total in totals]
    yield _gauge(f"{name}_min_seconds", f"The shortest duration {every}.", label, shortest)
    longest = [((total.type,), (total.greatest or 0) / MICROSECONDS) for total in totals]
    yield _gauge(f"{name}_max_seconds", f"The longest duration {every}.", label, longest)
    average = [((total.type,), total.microseconds / (total.timed * MICROSECONDS)) for total in totals]
    yield _gauge(f"{name}_average_seconds", f"The average duration {every}.", label, average)


def _extractions(sample: StoreSample) -> Iterator[Metric]:
    stored = "Extractions in the database; counted again after ten times as long as counting takes."
    yield GaugeMetricFamily("agent_storage_extractions", stored, value=sample.extractions)
    orphans = "Extractions that wait for their vector."
    yield GaugeMetricFamily("agent_storage_orphans", orphans, value=sample.orphans)
    set_aside = "Extractions that can't have a vector."
    yield GaugeMetricFamily("agent_storage_set_aside_extractions", set_aside, value=sample.set_aside)


def _pool(pool: PoolStats) -> Iterator[Metric]:
    name = "agent_storage_database_pool"
    yield GaugeMetricFamily(
        f"{name}_size", "The maximum number of connections that the pool keeps open.", value=pool.size
    )
    if pool.checked_out is not None:
        in_use = "Connections that are in use."
        yield GaugeMetricFamily(f"{name}_checked_out_connections", in_use, value=pool.checked_out)
    beyond = "Connections that are open beyond the pool's size."
    yield GaugeMetricFamily(f"{name}_overflow_connections", beyond, value=pool.overflow)
    waits = "Times that a connection was asked for while all were in use."
    yield CounterMetricFamily(f"{name}_waits", waits, value=pool.waits)


def _lanes(lanes: Sequence[LaneStats]) -> Iterator[Metric]:
    name = "agent_storage_lane"
    for field, documentation in (
        ("limit", "Calls that may run at once."),
        ("active", "Calls that are running."),
        ("waiting", "Callers that wait for a slot."),
    ):
        values = [((lane.name,), getattr(lane, field)) for lane in lanes]
        unit = "" if field == "limit" else "_calls"
        yield _gauge(f"{name}_{field}{unit}", documentation, ("lane",), values)
    for field, counter, documentation in (
        ("rejected", "rejected_calls", "Calls that were refused because too many waited, or for too long."),
        ("finished", "finished_calls", "Calls that have run."),
        ("wait_seconds", "wait_seconds", "The total time that callers have waited for a slot."),
        ("run_seconds", "run_seconds", "The total time that calls have run."),
    ):
        values = [((lane.name,), getattr(lane, field)) for lane in lanes]
        yield _counter(f"{name}_{counter}", documentation, ("lane",), values)


def _gauge(name: str, documentation: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _counter(name: str, documentation: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family
