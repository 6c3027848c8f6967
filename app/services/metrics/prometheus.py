"""Metrics for Prometheus: this process's instruments, and the exporter that answers scrapes."""

import logging
from collections.abc import Iterator
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from app.domain.outcomes import Counts
from app.errors import AgentStorageError
from app.executor import Lane
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.collectors import ProcessFigures, StoreFigures
from app.services.metrics.single_flight import SingleFlight
from app.services.metrics.snapshot import StoreSample

logger = logging.getLogger(__name__)

STORES_PATIENCE_S = 5.0
"""How long a scrape waits for SQL: half of Prometheus's default scrape timeout."""

_RENDER_PATIENCE_S = 1.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_HTTP_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_JOB_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)


def new_registry() -> CollectorRegistry:
    """Make a registry with the system's metrics of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class PrometheusInstruments:
    """The exported :class:`Instruments`; registers its metrics in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Histogram(
            "agent_storage_job_duration_seconds",
            "How long the attempts at jobs took in this process.",
            ("type", "outcome"),
            buckets=_JOB_BUCKETS,
            registry=registry,
        )
        self._http = Histogram(
            "agent_storage_http_request_duration_seconds",
            "How long HTTP requests took, by the template of their route.",
            ("method", "route", "status"),
            buckets=_HTTP_BUCKETS,
            registry=registry,
        )
        self._register_facts(registry)
        self._register_qdrant(registry)
        self._register_embedding(registry)

    def job(self, job_type: str, outcome: str, seconds: float) -> None:
        """See :class:`Instruments`."""
        self._jobs.labels(job_type, outcome).observe(seconds)

    def qdrant(self, operation: str, seconds: float, *, failed: bool) -> None:
        """See :class:`Instruments`."""
        self._qdrant.labels(operation).observe(seconds)
        self._qdrant_errors.labels(operation).inc(failed)

    def embedding(self, texts: int, seconds: float, *, failed: bool) -> None:
        """See :class:`Instruments`; refused texts don't count as embedded."""
        self._embedding.observe(seconds)
        self._embedding_errors.inc(failed)
        self._embedded_texts.inc(0 if failed else texts)

    def cut_texts(self, count: int) -> None:
        """See :class:`Instruments`."""
        self._cut_texts.inc(count)

    def foreign_texts(self, count: int) -> None:
        """See :class:`Instruments`."""
        self._foreign_texts.inc(count)

    def facts(self, counts: Counts) -> None:
        """See :class:`Instruments`."""
        for change in ("added", "changed", "removed"):
            self._facts.labels(change).inc(getattr(counts, change))

    def http(self, method: str, route: str, status: int, seconds: float) -> None:
        """See :class:`Instruments`; unknown methods, which clients can invent, are ``OTHER``."""
        known = method if method in _METHODS else "OTHER"
        self._http.labels(known, route, str(status)).observe(seconds)

    def _register_facts(self, registry: CollectorRegistry) -> None:
        self._facts = Counter(
            "agent_storage_facts",
            "Facts that were added, changed and removed by this process.",
            ("change",),
            registry=registry,
        )

    def _register_qdrant(self, registry: CollectorRegistry) -> None:
        self._qdrant = Histogram(
            "agent_storage_qdrant_request_duration_seconds",
            "How long requests to Qdrant took, without waiting for the lane; each try counts.",
            ("operation",),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._qdrant_errors = Counter(
            "agent_storage_qdrant_request_errors",
            "Requests to Qdrant that failed; each try counts.",
            ("operation",),
            registry=registry,
        )

    def _register_embedding(self, registry: CollectorRegistry) -> None:
        self._embedding = Histogram(
            "agent_storage_embedding_duration_seconds",
            "How long calls of the embedder took, each for all its texts, with waiting and retries.",
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._embedding_errors = Counter(
            "agent_storage_embedding_errors", "Calls of the embedder that failed.", registry=registry
        )
        self._embedded_texts = Counter(
            "agent_storage_embedded_texts", "Texts that were embedded.", registry=registry
        )
        self._cut_texts = Counter(
            "agent_storage_cut_texts",
            "Texts that were cut because they are longer than the model takes.",
            registry=registry,
        )
        self._foreign_texts = Counter(
            "agent_storage_foreign_texts",
            "Texts in a language that the embedder wasn't made for, in a sample of each batch.",
            registry=registry,
        )


class MetricsExporter:
    """Answers scrapes, on one event loop. Concurrent scrapes collect the figures once.

    An answer is cached for a second. SQL's figures are cached longer if reading them takes long, so
    that reading takes at most an eleventh of the time. If SQL doesn't answer within ``patience_s``,
    the scrape is answered with ``agent_storage_database_up`` at 0 and the figures of this process;
    a later scrape waits for the same query instead of starting another. The answer is rendered on
    ``lane``.
    """

    def __init__(
        self,
        collector: MetricsCollector,
        registry: CollectorRegistry,
        lane: Lane,
        *,
        patience_s: float = STORES_PATIENCE_S,
    ) -> None:
        self._collector = collector
        self._registry = registry
        self._lane = lane
        self._patience_s = patience_s
        self._sample = SingleFlight(collector.sample, "asking SQL for the metrics")
        self._bodies = {
            stores: SingleFlight(partial(self._render, stores), "rendering the metrics", times=0.0)
            for stores in (True, False)
        }

    async def render(self, stores: bool = True) -> tuple[bytes, str]:
        """The metrics in Prometheus's text format, and its content type.

        Without ``stores``, only those of this process: if several processes export SQL's figures,
        sums count them several times.
        """
        return await self._bodies[stores].get(), CONTENT_TYPE_PLAIN_0_0_4

    async def _render(self, stores: bool) -> bytes:
        collectors: list[Collector] = [self._registry]
        if stores:
            collectors.append(StoreFigures(await self._latest_sample()))
        collectors.append(ProcessFigures(self._collector.pool(), self._collector.lanes()))
        exposition = _Exposition(collectors)
        try:
            # Rendering takes some ten milliseconds for a thousand series.
            return await self._lane.run(generate_latest, exposition, timeout_s=_RENDER_PATIENCE_S)
        except AgentStorageError:
            # If no thread is free, the metrics are needed most, so block the loop this once.
            return generate_latest(exposition)

    async def _latest_sample(self) -> StoreSample | None:
        try:
            return await self._sample.get(patience_s=self._patience_s)
        except AgentStorageError as error:
            logger.warning("the metrics were exported without the figures from SQL: %s", error)
            return None


class _Exposition(Collector):
    """Several collectors as one, without the unneeded creation times of counters."""

    def __init__(self, collectors: list[Collector]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            for metric in collector.collect():
                metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
                yield metric
