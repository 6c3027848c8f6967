"""What the API needs: the providers of the running container, and plain values for the rest."""

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
    """The providers that routes use; each call gives the one instance.

    Declared as methods, so that mypy compares each one's type with the container's provider; a test
    compares the names.
    """

    def changes(self) -> ChangeService:
        """Reads what has changed."""
        ...

    def export(self) -> ExportService:
        """Hands extractions out."""
        ...

    def extractions(self) -> ExtractionService:
        """Looks extractions up, and deletes them."""
        ...

    def fields(self) -> FieldService:
        """Counts facts by their fields, and describes these."""
        ...

    def files_lane(self) -> Lane:
        """For reading and writing files."""
        ...

    def health(self) -> Health:
        """Asks every part how it is."""
        ...

    def ingestion(self) -> IngestionService:
        """Stores extractions."""
        ...

    def instruments(self) -> Instruments:
        """Takes what is measured as it happens."""
        ...

    def jobs(self) -> JobService:
        """All jobs."""
        ...

    def metrics_collector(self) -> MetricsCollector:
        """Measures when asked."""
        ...

    def metrics_exporter(self) -> MetricsExporter:
        """Answers scrapes."""
        ...

    def projects(self) -> ProjectService:
        """Projects as a whole."""
        ...

    def runs(self) -> RunService:
        """Begins, ends and undoes runs."""
        ...

    def search(self) -> SearchService:
        """Finds extractions."""
        ...

    def sources(self) -> SourceService:
        """A project's sources."""
        ...


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Who may use the API, and how much it takes. ``api_keys`` empty: whoever is on this machine, or names ``host``.

    ``max_items`` and ``max_body_bytes`` bound one JSON body; an NDJSON stream is bounded by the
    line, and stored ``batch_size`` lines at a time. ``max_at_work`` bounds the requests at work at
    once; streams of events and what tells how the service is don't count. ``chunk_patience_s`` is
    how long the next bytes of any body may take. ``root_path`` is what a proxy takes off the front
    of each path. Pages of ``cors_origins`` may use the API.
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
