"""The API's dependencies: the providers of the running container, and its options."""

from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from app.domain.items import ItemLimits
from app.executor import Lane
from app.services.changes import ChangeService
from app.services.export.service import ExportService
from app.services.extractions import ExtractionService
from app.services.fields import FieldService
from app.services.health import Health
from app.services.ingestion import IngestionService
from app.services.jobs.service import JobService
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.instruments import Instruments
from app.services.metrics.prometheus import MetricsExporter
from app.services.projects import ProjectService
from app.services.runs import RunService
from app.services.search import SearchService
from app.services.sources import SourceService


class ApiParts(Protocol):
    """The providers that routes use; each returns its singleton.

    They are declared as methods, so that mypy compares their types with the container's providers;
    a test compares the names.
    """

    def changes(self) -> ChangeService:
        """The service for the feed and histories."""
        ...

    def export(self) -> ExportService:
        """The service that exports extractions."""
        ...

    def extractions(self) -> ExtractionService:
        """The service that finds, counts, retries and deletes extractions."""
        ...

    def fields(self) -> FieldService:
        """The service for facets and descriptions of fields."""
        ...

    def files_lane(self) -> Lane:
        """The lane for file access and parsing."""
        ...

    def health(self) -> Health:
        """The health checks of all components."""
        ...

    def ingestion(self) -> IngestionService:
        """The service that stores extractions."""
        ...

    def instruments(self) -> Instruments:
        """The instruments that record measurements."""
        ...

    def jobs(self) -> JobService:
        """The service for jobs."""
        ...

    def metrics_collector(self) -> MetricsCollector:
        """The collector of metric snapshots."""
        ...

    def metrics_exporter(self) -> MetricsExporter:
        """The exporter for Prometheus."""
        ...

    def projects(self) -> ProjectService:
        """The service for projects."""
        ...

    def runs(self) -> RunService:
        """The service for runs."""
        ...

    def search(self) -> SearchService:
        """The service that searches."""
        ...

    def sources(self) -> SourceService:
        """The service for sources."""
        ...


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The API's access rules and limits.

    If ``api_keys`` is empty, requests must address this machine's loopback or ``host``.
    ``max_items`` and ``max_body_bytes`` bound one JSON body. In an NDJSON stream each line is
    bounded, and ``batch_size`` lines are stored at a time. ``max_at_work`` bounds the requests in
    progress, except event streams, health checks and metrics. ``chunk_patience_s`` is the longest
    wait for the next bytes of a body. ``root_path`` is the path prefix that a proxy strips. Pages
    of ``cors_origins`` may use the API.
    """

    host: str
    api_keys: tuple[str, ...] = field(repr=False)
    text_fields: tuple[str, ...]
    batch_size: int
    max_body_bytes: int
    max_items: int
    item_limits: ItemLimits
    max_at_work: int
    chunk_patience_s: float = 30.0
    root_path: str = ""
    cors_origins: tuple[str, ...] = ()


async def _parts(request: Request) -> ApiParts:
    parts: ApiParts = request.app.state.parts
    return parts


async def _options(request: Request) -> ApiOptions:
    options: ApiOptions = request.app.state.options
    return options


PartsOf = Annotated[ApiParts, Depends(_parts)]
OptionsOf = Annotated[ApiOptions, Depends(_options)]
