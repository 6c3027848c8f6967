"""What commands use of a service that may be this process's own or one that runs elsewhere."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.executor import Lane
from app.models import JobId
from app.services.ingestion import Accepted
from app.services.items import Item
from app.services.search import Found, Query
from app.services.storage.repositories.job import JobFilters, JobRow

# Named here, because inside the protocol ``list`` is its method.
JobRows = list[JobRow]
JobTypes = list[str]
Results = list[Found]


@dataclass(frozen=True, slots=True)
class NamedFilters(JobFilters):
    """Filters that also know the project's name, which is what a running service is asked by."""

    project: str | None = None


class EndedJob(Protocol):
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

    async def run_one(self, types: Collection[str] | None = None) -> EndedJob | None:
        """Claim the most urgent job, run it and settle it; None when none is waiting."""
        ...


class Index(Protocol):
    """See :class:`app.services.indexing.IndexingService`."""

    async def open(self) -> None:
        """Make sure that what follows can work."""
        ...


class Ingestion(Protocol):
    """See :class:`app.services.ingestion.IngestionService`."""

    async def accept(self, project: str, items: Sequence[Item]) -> Accepted:
        """Store the items, each once."""
        ...


class Search(Protocol):
    """See :class:`app.services.search.SearchService`."""

    async def search(self, query: Query) -> Results:
        """The best matches, best first."""
        ...


class Jobs(Protocol):
    """See :class:`app.services.jobs.service.JobService`."""

    async def get(self, job_id: JobId) -> JobRow:
        """One job as it stands."""
        ...

    async def list(self, filters: NamedFilters, *, limit: int = 100) -> JobRows:
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

    async def pause(self, kind: str) -> None:
        """Let no worker claim jobs of this type."""
        ...

    async def resume(self, kind: str) -> None:
        """Let workers claim jobs of this type again."""
        ...

    async def paused(self) -> JobTypes:
        """The types that are paused."""
        ...


class ServiceParts(Protocol):
    """The providers that work near and far; each call gives the one instance."""

    def files_lane(self) -> Lane:
        """For reading and writing files."""
        ...

    def indexing(self) -> Index:
        """Opens the index."""
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
