"""The interface of the container, as commands use it."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # commands import their parts only when they run, so that --help stays fast
    from sqlalchemy import Engine

    from app.cli.ports import JobRunner
    from app.config import Settings
    from app.executor import BoundedExecutor, Lane
    from app.services.backup.service import BackupService
    from app.services.changes import ChangeService
    from app.services.data_indexes import DataIndexing
    from app.services.embedding.choices import EmbedderChoices
    from app.services.embedding.comparison import EmbedderComparison
    from app.services.export.service import ExportService
    from app.services.extractions import ExtractionService
    from app.services.fields import FieldService
    from app.services.health import Health
    from app.services.index_use import IndexOwnership
    from app.services.indexing import IndexingService
    from app.services.ingestion import IngestionService
    from app.services.jobs.service import JobService
    from app.services.metrics.collector import MetricsCollector
    from app.services.projects import ProjectService
    from app.services.reconciliation import ReconciliationService
    from app.services.reindexing import ReindexingService
    from app.services.runs import RunService
    from app.services.search import SearchService
    from app.services.sources import SourceService
    from app.services.storage.qdrant.repository import QdrantRepository


class CommandParts(Protocol):
    """The container's providers that commands use.

    All but :meth:`worker` return the same instance at every call. They are declared as methods, so
    that mypy compares each type with the container's provider. A test compares the names.
    """

    def backups(self) -> "BackupService":
        """Backs up and restores the database."""
        ...

    def changes(self) -> "ChangeService":
        """Reads the history of changes."""
        ...

    def data_indexing(self) -> "DataIndexing":
        """Creates and drops indexes on data."""
        ...

    def embedder_choices(self) -> "EmbedderChoices":
        """The available embedders."""
        ...

    def embedder_comparison(self) -> "EmbedderComparison":
        """Measures how well embedders find texts."""
        ...

    def engine(self) -> "Engine":
        """The database engine and its connection pool."""
        ...

    def executor(self) -> "BoundedExecutor":
        """The one thread pool."""
        ...

    def fields(self) -> "FieldService":
        """Describes fields, and counts facts by them."""
        ...

    def extractions(self) -> "ExtractionService":
        """Reads, deletes and retries extractions."""
        ...

    def files_lane(self) -> "Lane":
        """The lane for reading and writing files."""
        ...

    def export(self) -> "ExportService":
        """Exports extractions."""
        ...

    def health(self) -> "Health":
        """Checks the health of every part."""
        ...

    def indexing(self) -> "IndexingService":
        """Updates the index from SQL."""
        ...

    def ingestion(self) -> "IngestionService":
        """Stores extractions."""
        ...

    def jobs(self) -> "JobService":
        """Lists and controls jobs."""
        ...

    def metrics_collector(self) -> "MetricsCollector":
        """Collects metrics on demand."""
        ...

    def ownership(self) -> "IndexOwnership":
        """Records which store the collection belongs to."""
        ...

    def projects(self) -> "ProjectService":
        """Lists and deletes projects."""
        ...

    def qdrant_repository(self) -> "QdrantRepository":
        """The vectors in Qdrant."""
        ...

    def reconciliation(self) -> "ReconciliationService":
        """Compares the two stores."""
        ...

    def reindexing(self) -> "ReindexingService":
        """Rebuilds the index."""
        ...

    def runs(self) -> "RunService":
        """The runs of pipelines."""
        ...

    def search(self) -> "SearchService":
        """Finds extractions."""
        ...

    def sources(self) -> "SourceService":
        """The sources of extractions."""
        ...

    def worker(self) -> "JobRunner":
        """Runs jobs."""
        ...


class OpenParts(Protocol):
    """Opens the container for one command.

    ``index=False`` leaves Qdrant closed, for commands that need only SQL. They can run while
    another process holds the embedded engine's directory. ``migrate`` and ``check`` are passed to
    :func:`containers.running`.
    """

    def __call__(
        self, settings: "Settings", *, index: bool = True, migrate: bool | None = None, check: bool = True
    ) -> AbstractContextManager[CommandParts]:
        """Return a context manager that opens the parts, and closes them on exit."""
        ...
