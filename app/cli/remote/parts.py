"""Opens a running service in place of the container."""

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
from app.executor import BoundedExecutor, Lane

_REQUESTS_AT_ONCE = 4
_CLOSING_TIMEOUT_S = 0.5
"""Nobody waits for a command: what still runs when it ends is what Ctrl-C interrupted."""

_WAITING_TIMEOUT_S = 60.0
_SILENT_JOB_S = 120.0


class RemoteParts(Remote):
    """The service's parts as :class:`app.cli.ports.ServiceParts`, each made once."""

    def __init__(self, service: Connection, files: Lane, silent_job_s: float) -> None:
        self._files = files
        self._queued: deque[JobId] = deque()
        self._service = service
        self._jobs = RemoteJobs(service)
        self._silent_job_s = silent_job_s

    def changes(self) -> RemoteChanges:
        """What changed there."""
        return RemoteChanges(self._service)

    def export(self) -> RemoteExport:
        """Hands out what is stored there."""
        return RemoteExport(self._service, self._files)

    def extractions(self) -> RemoteExtractions:
        """The extractions there; the jobs of what is asked for are waited for."""
        return RemoteExtractions(self._service, self._queued)

    def fields(self) -> RemoteFields:
        """What the fields of the facts there hold."""
        return RemoteFields(self._service)

    def files_lane(self) -> Lane:
        """A thread of this process for files."""
        return self._files

    def health(self) -> RemoteHealth:
        """How the service is."""
        return RemoteHealth(self._service)

    def indexing(self) -> RemoteIndex:
        """Sees that the service is there."""
        return RemoteIndex(self._service)

    def ingestion(self) -> RemoteIngestion:
        """Hands extractions in."""
        return RemoteIngestion(self._service, self._queued)

    def jobs(self) -> RemoteJobs:
        """The service's jobs."""
        return self._jobs

    def metrics_collector(self) -> RemoteMetrics:
        """What the service measures."""
        return RemoteMetrics(self._service)

    def projects(self) -> RemoteProjects:
        """The projects there; the jobs of a deletion are waited for."""
        return RemoteProjects(self._service, self._queued)

    def reconciliation(self) -> RemoteReconciliation:
        """Has the two stores compared there."""
        return RemoteReconciliation(self._service, self._jobs, self._silent_job_s)

    def reindexing(self) -> RemoteReindexing:
        """Has the index rebuilt there."""
        return RemoteReindexing(self._service, self._jobs, self._silent_job_s)

    def runs(self) -> RemoteRuns:
        """The runs there; the jobs of an undoing are waited for."""
        return RemoteRuns(self._service, self._queued)

    def search(self) -> RemoteSearch:
        """Searches there."""
        return RemoteSearch(self._service)

    def sources(self) -> RemoteSources:
        """The sources there; the jobs of a deletion are waited for."""
        return RemoteSources(self._service, self._queued)

    def worker(self) -> RemoteRunner:
        """Waits for the jobs of what was asked for."""
        return RemoteRunner(self._jobs, self._queued, self._silent_job_s)


@contextmanager
def open_remote(
    url: str, key: str | None = None, *, patience: Patience | None = None, silent_job_s: float = _SILENT_JOB_S
) -> Iterator[RemoteParts]:
    """The parts of the service at ``url``, used with that key, or None: of the environment; closed at the end.

    Raises:
        InvalidInput: that isn't the URL of a service, or the key is one that can't be sent.
    """
    address = check_url(url)
    client = open_http_client(service_at(url).key if key is None else key)
    executor = BoundedExecutor(_REQUESTS_AT_ONCE + 1)
    try:
        lane = _lane(executor, "service", _REQUESTS_AT_ONCE)
        service = Connection(address, client, lane, patience or Patience())
        yield RemoteParts(service, _lane(executor, "files", 1), silent_job_s)
    finally:
        executor.close(_CLOSING_TIMEOUT_S)
        client.close()


def _lane(executor: BoundedExecutor, name: str, limit: int) -> Lane:
    return executor.lane(name, limit=limit, max_waiting=100, wait_timeout_s=_WAITING_TIMEOUT_S)
