"""Opens a running service as a command's parts, in place of the container."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from app.cli.remote.connection import Connection, Patience, check_url, open_http_client
from app.cli.remote.exporting import RemoteExport
from app.cli.remote.extractions import RemoteExtractions
from app.cli.remote.fields import RemoteFields
from app.cli.remote.following import RemoteChanges, RemoteRuns, RemoteSources
from app.cli.remote.services import RemoteIndex, RemoteIngestion, RemoteJobs, RemoteRunner, RemoteSearch
from app.cli.remote.upkeep import (
    RemoteHealth,
    RemoteMetrics,
    RemoteProjects,
    RemoteReconciliation,
    RemoteReindexing,
)
from app.cli.stores import Remote, service_at
from app.domain.ids import JobId
from app.executor import GIVEN_UP_TIMEOUT_S, BoundedExecutor, Lane

_REQUESTS_AT_ONCE = 4

_WAITING_TIMEOUT_S = 60.0
_SILENT_JOB_S = 120.0


class RemoteParts(Remote):
    """A service's parts, implementing :class:`app.cli.ports.ServiceParts`."""

    def __init__(self, service: Connection, files: Lane, silent_job_s: float) -> None:
        self._files = files
        self._queued: deque[JobId] = deque()
        self._service = service
        self._jobs = RemoteJobs(service)
        self._silent_job_s = silent_job_s

    def changes(self) -> RemoteChanges:
        """The service's history of changes."""
        return RemoteChanges(self._service)

    def export(self) -> RemoteExport:
        """Exports the service's extractions."""
        return RemoteExport(self._service, self._files)

    def extractions(self) -> RemoteExtractions:
        """The service's extractions; :meth:`worker` waits for the jobs of deletions and retries."""
        return RemoteExtractions(self._service, self._queued)

    def fields(self) -> RemoteFields:
        """The fields of the service's facts."""
        return RemoteFields(self._service)

    def files_lane(self) -> Lane:
        """A lane of this process for files, with one thread."""
        return self._files

    def health(self) -> RemoteHealth:
        """The service's health."""
        return RemoteHealth(self._service)

    def indexing(self) -> RemoteIndex:
        """Checks that the service answers."""
        return RemoteIndex(self._service)

    def ingestion(self) -> RemoteIngestion:
        """Sends extractions to the service; :meth:`worker` waits for their index jobs."""
        return RemoteIngestion(self._service, self._queued)

    def jobs(self) -> RemoteJobs:
        """The service's jobs."""
        return self._jobs

    def metrics_collector(self) -> RemoteMetrics:
        """The service's metrics."""
        return RemoteMetrics(self._service)

    def projects(self) -> RemoteProjects:
        """The service's projects; :meth:`worker` waits for the jobs of deletions."""
        return RemoteProjects(self._service, self._queued)

    def reconciliation(self) -> RemoteReconciliation:
        """Has the service compare its two stores."""
        return RemoteReconciliation(self._service, self._jobs, self._silent_job_s)

    def reindexing(self) -> RemoteReindexing:
        """Has the service rebuild its index."""
        return RemoteReindexing(self._service, self._jobs, self._silent_job_s)

    def runs(self) -> RemoteRuns:
        """The service's runs; :meth:`worker` waits for the jobs of an undo."""
        return RemoteRuns(self._service, self._queued)

    def search(self) -> RemoteSearch:
        """Searches the service's extractions."""
        return RemoteSearch(self._service)

    def sources(self) -> RemoteSources:
        """The service's sources; :meth:`worker` waits for the jobs of deletions."""
        return RemoteSources(self._service, self._queued)

    def worker(self) -> RemoteRunner:
        """Waits for the jobs that the command's requests have queued."""
        return RemoteRunner(self._jobs, self._queued, self._silent_job_s)


@contextmanager
def open_remote(
    url: str, key: str | None = None, *, patience: Patience | None = None, silent_job_s: float = _SILENT_JOB_S
) -> Iterator[RemoteParts]:
    """Open the parts of the service at ``url``, and close them at the end of the block.

    A ``key`` of None stands for the key in the environment. A job that hasn't changed for
    ``silent_job_s`` seconds is given up.

    Raises:
        InvalidInput: ``url`` isn't the URL of a service, or the key can't be sent.
    """
    address = check_url(url)
    client = open_http_client(service_at(url).key if key is None else key)
    executor = BoundedExecutor(_REQUESTS_AT_ONCE + 1)
    try:
        lane = _lane(executor, "service", _REQUESTS_AT_ONCE)
        service = Connection(address, client, lane, patience or Patience())
        yield RemoteParts(service, _lane(executor, "files", 1), silent_job_s)
    finally:
        executor.close(GIVEN_UP_TIMEOUT_S)  # of calls that Ctrl-C interrupted
        client.close()


def _lane(executor: BoundedExecutor, name: str, limit: int) -> Lane:
    return executor.lane(name, limit=limit, max_waiting=100, wait_timeout_s=_WAITING_TIMEOUT_S)
