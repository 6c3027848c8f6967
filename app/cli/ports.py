"""The interfaces that commands use, whether the services run in this process or elsewhere.

All are in one module, because :class:`ServiceParts` names each of them, and none has code.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from app.domain.changes import FeedPage, FeedPlace, History
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
    """A job that a command has run or waited for."""

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What its handler returned."""
        ...


class JobRunner(Protocol):
    """What commands use of the worker; see :class:`app.worker.worker.Worker`."""

    async def recover(self) -> int:
        """Make the jobs of dead processes claimable at once."""
        ...

    async def run_one(self, types: Collection[str] | None = None) -> FinishedJob | None:
        """Claim the most urgent job, run it and settle it; None when none is waiting."""
        ...


class Index(Protocol):
    """See :class:`app.services.indexing.IndexingService`."""

    async def prepare(self, *, repair: bool = False) -> None:
        """Check the index, creating it if needed; ``repair`` also recreates a lost collection."""
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
        """A project's extractions that pass the filters, by id or in ``order``, page by page."""
        ...

    async def count(self, project: str, filters: Filters) -> int:
        """Count the extractions that pass the filters."""
        ...

    async def delete_batch(self, project: str, ids: Sequence[ExtractionId | str]) -> Deleted:
        """Delete the extractions with these ids; jobs delete their vectors."""
        ...

    async def delete_matching(self, project: str, filters: Filters) -> Deleted:
        """Delete the extractions that pass the filters; jobs delete their vectors."""
        ...

    async def retry(self, project: str, filters: Filters) -> Retried:
        """Retry the set-aside extractions that pass the filters; jobs embed them."""
        ...


class Fields(Protocol):
    """See :class:`app.services.fields.FieldService`."""

    async def describe(self, project: str) -> Description:
        """The types of a project and their fields."""
        ...

    async def count_by(
        self, project: str, by: Sequence[str], filters: Filters = ANY, *, limit: int = 10
    ) -> Facets:
        """Count a project's facts by fields and paths."""
        ...

    async def warnings(self, project: str, filters: Filters, *, order: Order | None = None) -> tuple[str, ...]:
        """Warnings about suspicious filters."""
        ...


class Lines(Protocol):
    """See :class:`app.intake.rows.RowReader`."""

    @property
    def unit(self) -> str:
        """What the file's lines are called: ``line``, ``row`` or ``element``."""
        ...

    def next_lines(self, size: int) -> list[tuple[int, bytes]]:
        """The next lines with their numbers; empty at the end."""
        ...


class SourceReplacement(Protocol):
    """Replaces the facts of sources; see :class:`app.cli.replacing.NearReplacement`."""

    async def replace(
        self,
        project: str,
        lines: Lines,
        options: ReplaceOptions,
        replaced: Callable[[Replaced], Awaitable[None]],
    ) -> None:
        """Replace the sources in the lines, and pass each part's outcome to ``replaced``."""
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
        """Cancel a job; a running one is asked to stop."""
        ...

    async def retry(self, job_id: JobId) -> JobRow:
        """Queue a failed or cancelled job again."""
        ...

    async def prune(self, older_than_s: float) -> int:
        """Delete the jobs that ended more than ``older_than_s`` ago; returns how many."""
        ...

    async def pause(self, job_type: str) -> None:
        """Stop workers from claiming jobs of this type."""
        ...

    async def resume(self, job_type: str) -> None:
        """Let workers claim jobs of this type again."""
        ...

    async def paused(self) -> JobTypeNames:
        """The paused job types."""
        ...


class Sources(Protocol):
    """See :class:`app.services.sources.SourceService`."""

    async def list(self, project: str, filters: SourceFilters, *, limit: int = 100) -> SourceRows:
        """The first ``limit`` of a project's sources that pass the filters."""
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
        """Begin a run of a project, which is created if it doesn't exist."""
        ...

    async def end(self, project: str, run_id: RunId) -> RunRow:
        """Mark a run as ended."""
        ...

    async def list(self, project: str, *, limit: int = 100) -> RunRows:
        """A project's newest runs."""
        ...

    async def undo(self, project: str, run: str) -> Undone:
        """Revert the changes of a run, except where later changes were made."""
        ...


class Export(Protocol):
    """See :class:`app.services.export.service.ExportService`."""

    def pages(
        self, project: str, filters: Filters = ANY, *, after: str | None = None
    ) -> AsyncIterator[ExportPage]:
        """A project's extractions, ordered by id, page by page."""
        ...


class Changes(Protocol):
    """See :class:`app.services.changes.ChangeService`."""

    async def of_extraction(self, extraction_id: ExtractionId, *, limit: int = 100) -> History:
        """The newest changes of an extraction, ``limit`` or more if there are as many."""
        ...

    async def of_source(self, project: str, source_id: SourceId, *, limit: int = 100) -> History:
        """The newest changes of a source and its extractions, ``limit`` or more."""
        ...

    async def of_run(self, project: str, run_id: RunId, *, limit: int = 100) -> History:
        """The newest changes under a run, ``limit`` or more if there are as many."""
        ...

    async def feed(self, project: str, *, after: FeedPlace | None = None, limit: int = 100) -> FeedPage:
        """A project's changes in commit order: the ``limit`` next after a place."""
        ...


class Projects(Protocol):
    """See :class:`app.services.projects.ProjectService`."""

    async def list(self) -> ProjectSummaries:
        """The projects with their counts, ordered by name."""
        ...

    async def delete(self, name: str) -> Deleted:
        """Delete a project and its content; jobs delete its vectors."""
        ...


class Measurements(Protocol):
    """See :class:`app.services.metrics.snapshot.Metrics`."""

    def as_dict(self) -> dict[str, Any]:
        """The measurements as values that JSON can represent."""
        ...


class Metrics(Protocol):
    """See :class:`app.services.metrics.collector.MetricsCollector`."""

    async def collect(self) -> Measurements:
        """Collect all metrics."""
        ...


class Reconciliation(Protocol):
    """See :class:`app.services.reconciliation.ReconciliationService`."""

    def run(self, *, repair: bool = False) -> AsyncIterator[Differences]:
        """Compare the two stores; yields the progress, and at last the outcome."""
        ...


class Reindexing(Protocol):
    """See :class:`app.services.reindexing.ReindexingService`."""

    async def total(self) -> int | None:
        """How many extractions :meth:`run` has to embed; None if unknown."""
        ...

    def run(self) -> AsyncIterator[Indexed]:
        """Rebuild the index; yields the outcome of each step."""
        ...


class ServiceParts(Protocol):
    """The providers that exist both in this process and for a remote service."""

    def changes(self) -> Changes:
        """Reads the history of changes."""
        ...

    def export(self) -> Export:
        """Exports extractions."""
        ...

    def extractions(self) -> Extractions:
        """Reads, deletes and retries extractions."""
        ...

    def fields(self) -> Fields:
        """Describes fields, and counts facts by them."""
        ...

    def files_lane(self) -> Lane:
        """The lane for reading and writing files."""
        ...

    def indexing(self) -> Index:
        """Prepares the index."""
        ...

    def ingestion(self) -> Ingestion:
        """Stores extractions."""
        ...

    def jobs(self) -> Jobs:
        """Lists and controls jobs."""
        ...

    def metrics_collector(self) -> Metrics:
        """Collects metrics on demand."""
        ...

    def projects(self) -> Projects:
        """Lists and deletes projects."""
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
        """The sources of extractions."""
        ...

    def worker(self) -> JobRunner:
        """Runs jobs, or waits until the service has run them."""
        ...
