"""The reference of the metrics that a scrape exports, from the collectors themselves."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from app.domain.jobs import JobStatus, JobType
from app.domain.outcomes import Counts
from app.executor import LaneStats
from app.services.metrics.collectors import ProcessFigures, StoreFigures
from app.services.metrics.prometheus import PrometheusInstruments
from app.services.metrics.snapshot import PoolStats, StoreSample
from app.services.storage.repositories.job_totals import Total
from generate.markdown import code, page, plain, table

_INTRODUCTION = """\
Every metric that `/metrics` exports in Prometheus's format, with its type and its labels.

`agent-storage metrics` prints the same. The services also export Prometheus's own `process_…`
metrics. [deploy/prometheus](../../deploy/prometheus) has the scrape configuration and the
alerts, and [Operations](../operations.md#watch) says what to do about each alert."""

_STORE = (
    "Read from SQL at a scrape, so every process exports the same figures. Don't add them up over processes."
)
_PROCESS = "Of the process that is scraped, since its start."
_COUNTED = frozenset({"counter"})
_OF_A_BUCKET = frozenset({"le", "quantile"})


def metrics_page() -> str:
    """Generate the page."""
    return page(
        "# Metrics",
        _INTRODUCTION,
        "## Of the store",
        _STORE,
        _table(store_families()),
        "## Of each process",
        _PROCESS,
        _table(process_families()),
    )


def store_families() -> Iterator[Metric]:
    """Yield the metrics that a scrape reads from SQL."""
    total = Total(JobType.EMBED, JobStatus.COMPLETED, 1, 1, 1, 1, 1)
    yield from StoreFigures(StoreSample((total,), {}, {}, 0, 0, 0)).collect()


def process_families() -> Iterator[Metric]:
    """Yield the metrics of a process. Each instrument is used once, so that its labels show."""
    registry = CollectorRegistry()
    instruments = PrometheusInstruments(registry)
    instruments.job(JobType.EMBED, JobStatus.COMPLETED, 0.0)
    instruments.qdrant("search", 0.0, failed=False)
    instruments.http("GET", "/health/live", 200, 0.0)
    instruments.facts(Counts())
    yield from registry.collect()
    lane = LaneStats("database", 0, 0, 0, 0, 0, 0.0, 0.0)
    yield from ProcessFigures(PoolStats(0, 0, 0), (lane,)).collect()


def _table(families: Iterator[Metric]) -> str:
    return table(("Metric", "Type", "Labels", "Meaning"), [_row(each) for each in families])


def _row(family: Metric) -> tuple[str, str, str, str]:
    name = f"{family.name}_total" if family.type in _COUNTED else family.name
    labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    named = ", ".join(code(label) for label in labels if label not in _OF_A_BUCKET)
    return code(name), family.type, named, plain(family.documentation)
