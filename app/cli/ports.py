"""What commands use of a service that may be this process's own or one that runs elsewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from app.domain.changes import History
from app.domain.export import ExportPage
from app.domain.fields import Description, Facets
from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId, JobId, RunId, SourceId
from app.domain.items import Item
from app.domain.jobs import JobFilters, JobRow, JobRows, JobTypeNames
from app.domain.ordering import Order
from app.domain.outcomes import Accepted, Deleted, Replaced, Retried, Undone
from app.domain.rows import (
    ExtractionRow,
    ExtractionRows,
    ProjectSummaries,
    RunRow,
    RunRows,
    SourceRow,
    SourceRows,
)
from app.domain.search import Query, SearchHits
from app.domain.sources import ReplaceOptions, SourceFilters
from app.domain.upkeep import Differences, Indexed
from app.executor import Lane


class FinishedJob(Protocol):
    """A job that a command has run, or has waited for."""

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What its handler gave back."""
        ...


class JobRunner(Protocol):
    """What commands use of the worker; see :class:`app.worker.worker.Worker`."""

    async def recover(self) -> int:
        """Let the jobs that a dead process left be claimed at once."""
        ...

    async def run_one(self, types: Collection[str] | None = None) -> FinishedJob | None:
        """Claim the most urgent job, run it and settle it; None when none is waiting."""
        ...


class Index(Protocol):
    """See :class:`app.services.indexing.IndexingService`."""

    async def prepare(self, *, repair: bool = False) -> None:
        """Make sure that what follows can work; ``repair``: as a repair, which fills a collection that is lost."""
        ...


class Ingestion(Protocol):
    """See :class:`app.services.ingestion.IngestionService`."""

    async def accept(self, project: str, items: Sequence[Item], *, run_id: RunId | None = None) -> Accepted:
        """Store the items, each once."""
        ...


class Extractions(Protocol):
    """See :class:`app.services.extractions.ExtractionService`."""

    async def get(self, extraction_id: ExtractionId) -> ExtractionRow:
        """One extraction."""
        ...

    def iter_pages(
        self, project: str, filters: Filters, *, limit: int | None = None, order: Order | None = None
    ) -> AsyncIterator[ExtractionRows]:
        """A project's extractions that pass the filters, by id or in an order, page by page."""
        ...

    async def count(self, project: str, filters: Filters) -> int:
        """How many pass the filters."""
        ...

    async def delete_batch(self, project: str, ids: Sequence[ExtractionId | str]) -> Deleted:
        """Delete these; jobs delete their vectors."""
        ...

    async def delete_matching(self, project: str, filters: Filters) -> Deleted:
        """Delete those that pass the filters; jobs delete their vectors."""
        ...

    async def retry(self, project: str, filters: Filters) -> Retried:
        """Try again what is set aside and passes the filters; jobs embed it."""
        ...


class Fields(Protocol):
    """See :class:`app.services.fields.FieldService`."""

    async def describe(self, project: str) -> Description:
        """The types of a project and their fields."""
        ...

    async def count_by(
        self, project: str, by: Sequence[str], filters: Filters = ANY, *, limit: int = 10
    ) -> Facets:
        """A project's facts counted by fields and paths."""
        ...

    async def warnings(self, project: str, filters: Filters) -> tuple[str, ...]:
        """What is odd about the filters."""
        ...


class Lines(Protocol):
    """See :class:`app.intake.rows.RowReader`."""

    @property
    def unit(self) -> str:
        """What a line is in the file that they are of."""
        ...

    def next_lines(self, size: int) -> list[tuple[int, bytes]]:
        """The next lines with their numbers; empty at the end."""
        ...


class SourceReplacement(Protocol):
    """Makes sources hold what lines say; near, by :class:`app.cli.replacing.NearReplacement`."""

    async def replace(
        self,
        project: str,
        lines: Lines,
        options: ReplaceOptions,
        replaced: Callable[[Replaced], Awaitable[None]],
    ) -> None:
        """Replace the sources of all lines, and tell ``replaced`` what was, part by part."""
        ...


class Search(Protocol):
    """See :class:`app.services.search.SearchService`."""

    async def search(self, query: Query) -> SearchHits:
        """The best matches, best first."""
        ...


class Jobs(Protocol):
    """See :class:`app.services.jobs.service.JobService`."""

    async def get(self, job_id: JobId) -> JobRow:
        """One job as it stands."""
        ...

    async def list(self, filters: JobFilters, *, limit: int = 100) -> JobRows:
        """The newest jobs that pass the filters."""
        ...

    async def cancel(self, job_id: JobId) -> JobRow:
        """Cancel a job, or ask one that runs to stop."""
        ...

    async def retry(self, job_id: JobId) -> JobRow:
        """Queue a job again that failed or was cancelled."""
        ...

    async def prune(self, older_than_s: float) -> int:
        """Delete the jobs that ended longer ago than that; returns how many."""
        ...

    async def pause(self, job_type: str) -> None:
        """Let no worker claim jobs of this type."""
        ...

    async def resume(self, job_type: str) -> None:
        """Let workers claim jobs of this type again."""
        ...

    async def paused(self) -> JobTypeNames:
        """The types that are paused."""
        ...


class Sources(Protocol):
    """See :class:`app.services.sources.SourceService`."""

    async def list(self, project: str, filters: SourceFilters, *, limit: int = 100) -> SourceRows:
        """The first of a project's sources that pass the filters."""
        ...

    async def get(self, project: str, source_id: SourceId) -> SourceRow:
        """One source."""
        ...

    async def delete(self, project: str, source_id: SourceId) -> Deleted:
        """Delete a source with its extractions; jobs delete their vectors."""
        ...

    async def prune(self, project: str) -> int:
        """Delete the sources that have no extractions; returns how many."""
        ...


class Runs(Protocol):
    """See :class:`app.services.runs.RunService`."""

    async def get(self, project: str, run: str) -> RunRow:
        """One run, by its id or its name."""
        ...

    async def begin(self, project: str, name: str, metadata: Mapping[str, Any] | None = None) -> RunRow:
        """Begin a run of a project, which is created if need be."""
        ...

    async def end(self, project: str, run_id: RunId) -> RunRow:
        """Note that nothing more comes under a run."""
        ...

    async def list(self, project: str, *, limit: int = 100) -> RunRows:
        """A project's newest runs."""
        ...

    async def undo(self, project: str, run: str) -> Undone:
        """Put everything back to what it was before a run."""
        ...


class Export(Protocol):
    """See :class:`app.services.export.service.ExportService`."""

    def pages(
        self, project: str, filters: Filters = ANY, *, after: str | None = None
    ) -> AsyncIterator[ExportPage]:
        """A project's extractions by id."""
        ...


class Changes(Protocol):
    """See :class:`app.services.changes.ChangeService`."""

    async def of_extraction(self, extraction_id: ExtractionId, *, limit: int = 100) -> History:
        """At least the newest changes of an extraction."""
        ...

    async def of_source(self, project: str, source_id: SourceId, *, limit: int = 100) -> History:
        """At least the newest changes of a source and its extractions."""
        ...

    async def of_run(self, project: str, run_id: RunId, *, limit: int = 100) -> History:
        """At least the newest changes under a run."""
        ...


class Projects(Protocol):
    """See :class:`app.services.projects.ProjectService`."""

    async def list(self) -> ProjectSummaries:
        """The projects by name, with their counts."""
        ...

    async def delete(self, name: str) -> Deleted:
        """Delete a project with all it holds; jobs delete its vectors."""
        ...


class Measurements(Protocol):
    """See :class:`app.services.metrics.snapshot.Metrics`."""

    def as_dict(self) -> dict[str, Any]:
        """What was measured, as JSON can hold it."""
        ...


class Metrics(Protocol):
    """See :class:`app.services.metrics.collector.MetricsCollector`."""

    async def collect(self) -> Measurements:
        """Everything."""
        ...


class Reconciliation(Protocol):
    """See :class:`app.services.reconciliation.ReconciliationService`."""

    def run(self, *, repair: bool = False) -> AsyncIterator[Differences]:
        """Compare the two stores, yielding how far that is; the last is the outcome."""
        ...


class Reindexing(Protocol):
    """See :class:`app.services.reindexing.ReindexingService`."""

    async def total(self) -> int | None:
        """How many extractions :meth:`run` has to embed, as far as that is known."""
        ...

    def run(self) -> AsyncIterator[Indexed]:
        """Rebuild the index, yielding what each step has brought."""
        ...


class ServiceParts(Protocol):
    """The providers that work near and far; each call gives the one instance."""

    def changes(self) -> Changes:
        """What changed."""
        ...

    def export(self) -> Export:
        """Hands extractions out."""
        ...

    def extractions(self) -> Extractions:
        """All extractions."""
        ...

    def fields(self) -> Fields:
        """Counts facts by their fields, and describes these."""
        ...

    def files_lane(self) -> Lane:
        """For reading and writing files."""
        ...

    def indexing(self) -> Index:
        """Prepares the index."""
        ...

    def ingestion(self) -> Ingestion:
        """Stores extractions."""
        ...

    def jobs(self) -> Jobs:
        """All jobs."""
        ...

    def metrics_collector(self) -> Metrics:
        """Measures when asked."""
        ...

    def projects(self) -> Projects:
        """Projects as a whole."""
        ...

    def reconciliation(self) -> Reconciliation:
        """Compares the two stores."""
        ...

    def reindexing(self) -> Reindexing:
        """Rebuilds the index."""
        ...

    def runs(self) -> Runs:
        """The runs of pipelines."""
        ...

    def search(self) -> Search:
        """Finds extractions."""
        ...

    def sources(self) -> Sources:
        """What extractions were taken from."""
        ...

    def worker(self) -> JobRunner:
        """Runs jobs, or waits for those who do."""
        ...
