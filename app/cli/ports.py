"""What commands use of a service that may be this process's own or one that runs elsewhere."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from app.domain.ids import JobId
from app.domain.items import Item
from app.domain.jobs import JobFilters, JobRow, JobRows, JobTypeNames
from app.domain.outcomes import Accepted
from app.domain.search import Query, SearchHits
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

    async def prepare(self) -> None:
        """Make sure that what follows can work."""
        ...


class Ingestion(Protocol):
    """See :class:`app.services.ingestion.IngestionService`."""

    async def accept(self, project: str, items: Sequence[Item]) -> Accepted:
        """Store the items, each once."""
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


class ServiceParts(Protocol):
    """The providers that work near and far; each call gives the one instance."""

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

    def search(self) -> Search:
        """Finds extractions."""
        ...

    def worker(self) -> JobRunner:
        """Runs jobs, or waits for those who do."""
        ...
