"""All errors that the package raises, in one hierarchy.

A message says what happened, to which thing, and what to do; the values are attributes too.
``retryable`` says whether the same call can succeed later without a change by the caller. Errors of
other libraries are translated where they enter the package. The HTTP API and the command line map
the classes to statuses and exit codes. All are in one module, because callers catch them by class,
whichever part raises them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Self


class AgentStorageError(Exception):
    """The base class. ``retry_after_s`` is the minimum wait before a retry, if known."""

    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None


def shown_time(moment: datetime) -> str:
    """A moment in a message, written as in the API's answers: in UTC, with ``Z``."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


# --- configuration --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One invalid setting: its key, its value (masked if secret) and what is allowed."""

    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.allowed}"


class ConfigurationError(AgentStorageError):
    """The settings can't be used; carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the configuration is not usable:\n{lines}\nSee `agent-storage config show`.")


class UnsupportedDialect(AgentStorageError):
    """A component has no strategy for the database's SQL dialect."""

    def __init__(self, dialect: str, supported: Sequence[str]) -> None:
        self.dialect = dialect
        self.supported = tuple(supported)
        super().__init__(
            f"no job-duration strategy for the SQL dialect {dialect!r}; there is one for "
            f"{', '.join(sorted(self.supported))}. Set database.url to one of these."
        )


class UnfitPart(AgentStorageError):
    """A replacement for a part of the container can't be used, such as your own embedder.

    ``missing`` are the members that it lacks.
    """

    def __init__(self, part: str, given: str, reason: str, way_out: str, missing: Sequence[str] = ()) -> None:
        self.part = part
        self.given = given
        self.missing = tuple(missing)
        super().__init__(f"{given} can't be the container's {part}: {reason}. {way_out}")


class AddressInUse(AgentStorageError):
    """A service can't listen on its address."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"can't listen on {host} port {port}: {reason}. Stop the program that uses it, or choose another --port."
        )


class NotStarted(AgentStorageError):
    """A service gave up waiting for something that it needs."""

    def __init__(self, part: str, timeout_s: float, reason: str, way_out: str) -> None:
        self.part = part
        self.timeout_s = timeout_s
        super().__init__(
            f"gave up waiting for {part} after {timeout_s:g} s (worker.startup_timeout): {reason}. {way_out}"
        )


class ProcessFailed(AgentStorageError):
    """A process that a command started didn't become ready, or ended with an error."""


# --- bad input ------------------------------------------------------------------------------------


class InvalidInput(AgentStorageError):
    """The input is invalid; nothing was changed."""


class InvalidField(InvalidInput):
    """A field of an item is invalid.

    ``field`` is its dotted name, cut to 100 characters and escaped if it isn't printable.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field = field[:100] if field.isprintable() else ascii(field[:100])[1:-1]
        self.reason = reason
        super().__init__(f"{self.field}: {reason}")


class InvalidCondition(InvalidField):
    """The text of a condition can't be parsed.

    ``place`` counts characters from 1; ``near`` is the text around it.
    """

    def __init__(self, place: int, near: str, problem: str) -> None:
        self.place = place
        self.near = near
        self.problem = problem
        super().__init__("where", f"at character {place:,}, near {near!r}: {problem}")


class InvalidItem(InvalidInput):
    """One item of a batch is invalid.

    ``index`` counts from 0 within the batch; ``field`` is the dotted name of the invalid field, or
    None.
    """

    def __init__(self, index: int, reason: str, field: str | None = None) -> None:
        self.index = index
        self.reason = reason
        self.field = field
        super().__init__(f"item {index}: {reason}")


class InvalidLine(InvalidInput):
    """One line of a replace is invalid.

    Lines count from 1; ``field`` is the name of the invalid field, or None. ``unit`` is what the
    input calls a line, for example ``row``.
    """

    def __init__(self, line: int, reason: str, field: str | None = None, unit: str = "line") -> None:
        self.line = line
        self.reason = reason
        self.field = field
        super().__init__(f"{unit} {line:,}: {reason}")

    @classmethod
    def of(cls, line: int, error: InvalidInput, unit: str = "line") -> Self:
        """Make the error for a line from the error of its content."""
        return cls(line, str(error), error.field if isinstance(error, InvalidField) else None, unit)


class InvalidVector(InvalidInput):
    """A vector has the wrong dimension, isn't finite in float32, or is zero.

    ``index`` counts from 0.
    """

    def __init__(self, index: int, reason: str) -> None:
        self.index = index
        self.reason = reason
        super().__init__(f"vector {index}: {reason}")


class SourceRepeated(InvalidInput):
    """The lines of one source aren't consecutive in a replace.

    Lines count from 1; ``unit`` is what the input calls a line.
    """

    def __init__(self, source_uri: str, first_line: int, line: int, unit: str = "line") -> None:
        self.source_uri = source_uri
        self.first_line = first_line
        self.line = line
        super().__init__(
            f"{unit} {line:,}: source {source_uri[:200]!r} was at {unit} {first_line:,} already; "
            f"all {unit}s of a source must follow one another"
        )


class NotFound(AgentStorageError):
    """There is nothing with the requested name or id."""

    def __init__(self, kind: str, key: object) -> None:
        self.kind = kind
        self.key = key
        super().__init__(f"no {kind} {str(key)!r}")


class Conflict(AgentStorageError):
    """The request conflicts with the stored state; nothing was changed."""


class ProjectExists(Conflict):
    """A project with that name exists already."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is a project {name!r} already")


class JobStateConflict(Conflict):
    """A job can't be cancelled or retried in its current state."""

    def __init__(self, job_id: object, status: str, wanted: str) -> None:
        self.job_id = job_id
        self.status = status
        super().__init__(f"job {job_id} is {status}, so it can't be {wanted}")


class RunEnded(Conflict):
    """The run has ended and takes no more input."""

    def __init__(self, run_id: object) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} has ended; begin another")


class StaleReplace(Conflict):
    """The input was observed earlier than the content that the source was last replaced with."""

    def __init__(self, source_uri: str, observed_at: datetime, newest: datetime) -> None:
        self.source_uri = source_uri
        self.observed_at = observed_at
        self.newest = newest
        super().__init__(
            f"source {source_uri[:200]!r} was last replaced with an observation of {shown_time(newest)}; "
            f"this one is older, of {shown_time(observed_at)}, and an older observation never replaces a newer one"
        )


class MassDeleteRefused(Conflict):
    """A replace would remove more than half of the facts of a source or a project."""

    def __init__(self, what: str, removed: int, of: int, *, at_least: bool = False) -> None:
        self.removed = removed
        self.of = of
        count = f"at least {removed:,}" if at_least and removed < of else f"{removed:,}"
        super().__init__(
            f"this would remove {count} of the {of:,} facts of {what}; if that is meant, allow it with "
            "allow_mass_delete (--allow-mass-delete)"
        )


class HistoryPruned(Conflict):
    """The request needs entries that have been pruned from the ledger."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} has been pruned from the ledger; retention.history sets how long entries are kept"
        )


class IdempotencyConflict(Conflict):
    """The ``Idempotency-Key`` was used for a different request."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"the Idempotency-Key {key[:100]!r} was used for a different request; use a new key for a new request"
        )


# --- bounds ---------------------------------------------------------------------------------------


class Saturated(AgentStorageError):
    """Backpressure: a lane has its maximum of waiting callers; the call was refused at once."""

    retryable: ClassVar[bool] = True

    def __init__(self, lane: str, waiting: int, *, retry_after_s: float = 1.0) -> None:
        self.lane = lane
        self.waiting = waiting
        self.retry_after_s = retry_after_s
        super().__init__(
            f"the {lane} lane is full: {waiting} callers are waiting. Try again in {retry_after_s:g} s, "
            f"or raise executor.max_workers or executor.max_waiting."
        )


class DeadlineExceeded(AgentStorageError):
    """The deadline passed, counted from the call. A call that has started may still take effect."""

    retryable: ClassVar[bool] = True

    def __init__(self, what: str, timeout_s: float) -> None:
        self.what = what
        self.timeout_s = timeout_s
        super().__init__(f"{what} took longer than {timeout_s:g} s")


class ShuttingDown(AgentStorageError):
    """The executor is shutting down: it takes no new calls, and has dropped the waiting ones."""

    retryable: ClassVar[bool] = True

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is shutting down and takes no more work")


# --- a running service ----------------------------------------------------------------------------


class ServiceError(AgentStorageError):
    """A running service refused a request, or the address belongs to another program.

    ``asked`` is the method and the URL. ``status`` is None if there was no HTTP answer.
    ``request_id`` identifies the request in the service's log.
    """

    def __init__(
        self, asked: str, reason: str, *, status: int | None = None, request_id: str | None = None
    ) -> None:
        self.asked = asked
        self.reason = reason
        self.status = status
        self.request_id = request_id
        told = "" if status is None else f" answered {status}"
        log = "" if request_id is None else f" (request {request_id})"
        super().__init__(f"{asked}{told}: {reason}{log}")


class ServiceUnavailable(ServiceError):
    """A running service gave no usable answer before the deadline, or can't be reached."""

    retryable: ClassVar[bool] = True


class JobFailed(AgentStorageError):
    """A job that the caller waits for has failed permanently."""

    def __init__(self, job_id: object, reason: str) -> None:
        self.job_id = job_id
        self.reason = reason
        super().__init__(f"job {job_id} failed: {reason}. `agent-storage jobs retry {job_id}` queues it again.")


class JobStalled(AgentStorageError):
    """A job that the caller waits for is open and has made no progress for too long."""

    retryable: ClassVar[bool] = True

    def __init__(self, job_id: object, status: str, silent_s: float, reason: str | None) -> None:
        self.job_id = job_id
        self.status = status
        failure = "" if reason is None else f" Its last failure was: {reason}."
        super().__init__(
            f"job {job_id} is {status} and has made no progress for {silent_s:g} s.{failure} Check that a worker "
            f"runs and that the job's type isn't paused: `agent-storage jobs show {job_id}`."
        )


# --- SQL ------------------------------------------------------------------------------------------


class DatabaseError(AgentStorageError):
    """The database refused a statement. The message never contains the statement's values."""


class DatabaseUnavailable(DatabaseError):
    """The database can't be reached, or dropped the connection."""

    retryable: ClassVar[bool] = True


class DatabaseConflict(DatabaseUnavailable):
    """A transaction conflicted with another one and was rolled back."""


class StoreMissing(DatabaseError):
    """The database's file doesn't exist, and the command creates no store."""

    def __init__(self, database: str) -> None:
        self.database = database
        super().__init__(
            f"there is no store here yet: no database {database}, and none was created. "
            "`agent-storage ingest FILE --project NAME` creates one; AGENT_STORAGE_HOME or --config sets another place."
        )


class DatabaseForeign(DatabaseError):
    """The database belongs to another application. ``found`` names what was found in it."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"the database holds another application's tables: {found}. Nothing was changed. Give agent-storage "
            "its own database; or, on PostgreSQL, its own schema: CREATE SCHEMA agent_storage, and "
            "?options=-csearch_path%3Dagent_storage at the end of database.url."
        )


class DatabaseForbidden(DatabaseError):
    """The database's role lacks a privilege; ``refused`` is the server's message."""

    def __init__(self, refused: str, role: str) -> None:
        self.refused = refused
        super().__init__(
            f"the database refused: {refused}. The database's owner must give the role {role} its privileges: for "
            f'`agent-storage db upgrade`, GRANT USAGE, CREATE ON SCHEMA public TO "{role}"; for everything else, '
            "ownership of the tables, or GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public "
            f'TO "{role}", and USAGE ON ALL SEQUENCES. If the connection\'s search_path names another schema than public, '
            "grant them on that one."
        )


class DatabaseSchemaAbsent(DatabaseError):
    """PostgreSQL has no schema to create tables in."""

    def __init__(self, role: str) -> None:
        super().__init__(
            "the database has none of the schemas in the connection's search_path, so tables can't be created. "
            f'Create one (CREATE SCHEMA NAME AUTHORIZATION "{role}"), or name another in database.url '
            "(?options=-csearch_path%3DNAME)."
        )


class DatabaseTimeout(DatabaseError):
    """The database ended a statement or transaction at its time limit, and rolled it back.

    ``limit_s`` is None if agent-storage didn't set the limit.
    """

    retryable: ClassVar[bool] = True

    def __init__(self, what: str, limit_s: float | None, setting: str) -> None:
        self.what = what
        self.limit_s = limit_s
        self.setting = setting
        limit = f"than {setting} allows" if limit_s is None else f"than {limit_s:g} s ({setting})"
        super().__init__(f"{what} for longer {limit}, so the database ended it and rolled back its transaction")


class DatabaseDiskFull(DatabaseUnavailable):
    """The disk of SQLite's file is full; the transaction was rolled back."""

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__(
            f"the disk is full: the database {file} can't grow. This transaction was rolled back; earlier ones are "
            "kept. Free space on that disk, and try again."
        )


class DatabaseReadOnly(DatabaseError):
    """SQLite's file is read-only."""

    def __init__(self, file: str, code: str) -> None:
        self.file = file
        super().__init__(
            f"the database {file} is read-only ({code}). Give this process's user write permission on it and on "
            "its folder, or set database.url to a file in a writable folder."
        )


class DatabaseWritesRefused(DatabaseUnavailable):
    """PostgreSQL is read-only: the server is a standby, or transactions default to read-only."""

    retry_after_s = 2.0

    def __init__(self) -> None:
        super().__init__(
            "the database takes no writes: the server at database.url is a standby, or default_transaction_read_only "
            "is on. After a failover this ends when database.url leads to the new primary. If it persists, name the "
            "primary in database.url, or turn default_transaction_read_only off."
        )


class DatabaseEncodingUnfit(DatabaseError):
    """The encoding of PostgreSQL's database can't represent every text."""

    def __init__(self, database: str, encoding: str) -> None:
        self.database = database
        self.encoding = encoding
        super().__init__(
            f"the database {database} has the encoding {encoding}, which can't hold every text. It must be UTF8, and "
            "a database's encoding can't be changed: create another database with `createdb -E UTF8 -T template0 "
            "NAME`, name it in database.url, and run `agent-storage db upgrade`."
        )


class DatabaseDamaged(DatabaseError):
    """SQLite's file is damaged, or isn't an SQLite file."""

    def __init__(self, file: str, code: str) -> None:
        self.file = file
        self.code = code
        super().__init__(
            f"the database {file} is damaged, or isn't an SQLite file ({code}). Stop the processes that use it, and "
            "restore a backup: `agent-storage restore DIR --overwrite`, which keeps the damaged file beside it, and "
            "then `agent-storage verify --repair`. Without a backup, SQLite's own `.recover` saves what it can read."
        )


class SchemaMismatch(DatabaseError):
    """The database's schema isn't the one that this version needs."""

    def __init__(self, found: str | None, expected: str) -> None:
        self.found = found
        self.expected = expected
        if found is None:
            told = "there is no store in this database yet: it has no tables of agent-storage. "
            older = "`agent-storage db upgrade` creates them."
        else:
            told = f"the database schema is at {found}, this version needs {expected}. "
            older = "Run `agent-storage db upgrade`."
        newer = (
            "A newer agent-storage has upgraded it, and this one can't undo that. Install that version or a later one "
            "(`agent-storage --version` prints this one); or, to stay with this one, restore a backup that it can "
            "read: `agent-storage restore DIR --overwrite`. Everything stored since that backup would be lost."
        )
        super().__init__(told + (newer if self.is_newer else older))

    @property
    def is_newer(self) -> bool:
        """Whether a later version upgraded the database; revisions are numbers of equal length."""
        return self.found is not None and self.found > self.expected


class SchemaMissing(DatabaseError):
    """A statement failed because the database lacks the tables of this version."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the database lacks a table or column that a statement needs: {reason}. Open the container with "
            "`running(container)`, which upgrades SQLite's schema and checks that of other databases, or run "
            "`agent-storage db upgrade`."
        )


class LeaseLost(AgentStorageError):
    """The job's lease expired, and another worker may hold it; nothing was marked or settled."""

    def __init__(self, job_id: object, attempt: int) -> None:
        self.job_id = job_id
        self.attempt = attempt
        super().__init__(f"attempt {attempt} of job {job_id} has lost its lease")


class TimeLimitExceeded(AgentStorageError):
    """An attempt at a job exceeded the time limit of its type and was stopped."""

    retryable: ClassVar[bool] = True

    def __init__(self, job_type: str, limit_s: float) -> None:
        self.job_type = job_type
        self.limit_s = limit_s
        super().__init__(
            f"the {job_type} job took longer than {limit_s:g} s, the limit of worker.time_limit or "
            "worker.time_limits"
        )


class HandlerCrashed(AgentStorageError):
    """A job's handler raised an exception that no handler may raise, such as ``SystemExit``."""

    retryable: ClassVar[bool] = True

    def __init__(self, job_type: str, reason: str) -> None:
        self.job_type = job_type
        self.reason = reason
        super().__init__(f"the handler of {job_type} jobs crashed: {reason}")


class JobCancelled(AgentStorageError):
    """The running job was cancelled; the work that it has finished stays."""

    def __init__(self, job_id: object) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} was cancelled")


# --- backups --------------------------------------------------------------------------------------


class BackupError(AgentStorageError):
    """A backup can't be made or restored; the store is unchanged."""


class NothingToBackUp(BackupError):
    """The database doesn't exist, or has none of agent-storage's tables."""

    def __init__(self, database: str) -> None:
        self.database = database
        super().__init__(
            f"there is nothing to back up: the database {database} is missing or was never used. Set database.url, or "
            "run this in the folder of the store."
        )


class BackupUnsupported(BackupError):
    """The database isn't a file that can be copied or replaced."""

    def __init__(self, database: str, reason: str) -> None:
        self.database = database
        super().__init__(f"the database {database} can't be backed up or restored: {reason}")


class BackupFailed(BackupError):
    """Copying the database failed; the incomplete copy was deleted."""

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(f"copying to {file} failed, and the incomplete copy was deleted: {reason}")


class BackupRunning(BackupError):
    """Another process is writing a backup to that folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"another backup is being written to {folder}. Wait for it, or name another folder.")


class BackupMissing(BackupError):
    """There is no complete backup at a path; ``found`` says what is there instead."""

    def __init__(self, path: str, found: str) -> None:
        self.path = path
        super().__init__(
            f"no complete backup in {path}: {found}. `agent-storage backup {path}` makes one there; to restore from "
            "elsewhere, name another folder or the file itself."
        )


class BackupUnusable(BackupError):
    """A file isn't an intact backup: it was truncated or changed, or isn't this program's."""

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(f"{file} can't be restored: {reason}. Nothing was changed; name another backup.")


class BackupTooNew(BackupError):
    """A backup was made by a newer version of this program."""

    def __init__(self, file: str, made_by: str, found: str, expected: str) -> None:
        self.file = file
        self.made_by = made_by
        self.found = found
        self.expected = expected
        super().__init__(
            f"{file} was made by agent-storage {made_by} with {found}; this version supports {expected} at most. "
            "Nothing was changed; upgrade agent-storage, then restore."
        )


class StoreInUse(BackupError):
    """Another process has the database open."""

    def __init__(self, database: str) -> None:
        self.database = database
        super().__init__(
            f"another process has the database {database} open. Stop the service, the workers and the commands that use "
            "it, and restore again; nothing was changed."
        )


class StoreHasData(Conflict):
    """A restore would replace stored data; ``holds`` says which."""

    def __init__(self, database: str, holds: str) -> None:
        self.database = database
        self.holds = holds
        super().__init__(
            f"the database {database} {holds}. Nothing was changed; --overwrite replaces it with the backup, or set "
            "database.url to an empty store."
        )


# --- exports --------------------------------------------------------------------------------------


class ExtraMissing(AgentStorageError):
    """A feature needs a package that is only installed with an extra of agent-storage."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{what} needs {package}, which isn't installed here. It comes with the extra {extra!r}: "
            f"`pip install 'agent-storage[{extra}]'`."
        )


class ExportFailed(AgentStorageError):
    """An export's file couldn't be written; the incomplete file was deleted."""

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(f"writing {file} failed, and the incomplete file was deleted: {reason}")


# --- Qdrant ---------------------------------------------------------------------------------------


class QdrantError(AgentStorageError):
    """Qdrant refused a request; names the operation and the collection."""

    def __init__(self, operation: str, collection: str, reason: str) -> None:
        self.operation = operation
        self.collection = collection
        self.reason = reason
        super().__init__(f"Qdrant could not {operation} (collection {collection!r}): {reason}")


class QdrantUnavailable(QdrantError):
    """Qdrant gave no usable answer before the deadline (refused, reset, timed out, 429 or 5xx)."""

    retryable: ClassVar[bool] = True

    def __init__(
        self, operation: str, collection: str, reason: str, *, retry_after_s: float | None = None
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(operation, collection, reason)


class QdrantDiskFull(QdrantUnavailable):
    """The disk of the embedded engine's directory, or of the Qdrant server, is full."""


class CollectionMissing(QdrantError):
    """The collection doesn't exist: it is being created, or it was dropped."""

    retryable: ClassVar[bool] = True


class ForeignCollection(QdrantError):
    """The collection is another store's index; ``owner`` is that store's id, None if unknown."""

    def __init__(self, operation: str, collection: str, owner: str | None, store_id: str) -> None:
        self.owner = owner
        self.store_id = store_id
        whose = "holds points that aren't in this database" if owner is None else f"belongs to store {owner}"
        super().__init__(
            operation,
            collection,
            f"it {whose}, and this database is store {store_id}. Name another collection in qdrant.collection; or, to "
            "make it this database's index (after a restore, for example), run `agent-storage adopt`.",
        )


class CollectionMismatch(QdrantError):
    """The collection has a different vector size or distance; it is never altered."""

    def __init__(self, collection: str, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(
            "be used",
            collection,
            f"it holds {found} vectors and the embedder makes {expected}. "
            "Run `agent-storage reindex`, or point qdrant.path or qdrant.url elsewhere.",
        )


class DataDirectoryLocked(QdrantError):
    """Another process has the embedded engine's directory open.

    ``service`` describes the process, if it is a service that left a note about itself.
    """

    def __init__(self, path: str, collection: str, service: str | None = None) -> None:
        self.path = path
        self.service = service
        wait = (
            "Wait for it or stop it; if it is a service, name it with --api"
            if service is None
            else f"It is {service}. Stop it, or go through it (commands do that automatically, with the same "
            "database and without --near)"
        )
        super().__init__(
            "open the data directory",
            collection,
            f"another process is using {path}. {wait}; for several processes at once, run a Qdrant server and set "
            "qdrant.url. (The setting qdrant.path names the directory.)",
        )


# --- embedding ------------------------------------------------------------------------------------


class EmbeddingError(AgentStorageError):
    """The embedder can't embed its input, and a retry won't help.

    ``reason`` is the message without the ``advice``, which only applies if no text can be embedded.
    """

    def __init__(self, reason: str, *, advice: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}; {advice}" if advice else reason)


class EmbeddingRejected(EmbeddingError):
    """The embedder refused these texts; only one of them may be at fault.

    ``fits`` is set if a text is too long: the share of it that the model accepts, if known.
    """

    def __init__(self, reason: str, *, fits: float | None = None) -> None:
        self.fits = fits
        super().__init__(reason)


class EmbeddingUnavailable(EmbeddingError):
    """The embedding endpoint gave no usable answer before the deadline.

    ``busy`` says that the endpoint limits the rate of requests, which isn't the fault of a text.
    """

    retryable: ClassVar[bool] = True

    def __init__(self, reason: str, *, retry_after_s: float | None = None, busy: bool = False) -> None:
        self.retry_after_s = retry_after_s
        self.busy = busy
        super().__init__(reason)


class IndexMismatch(AgentStorageError):
    """This process makes vectors differently from the stored ones; the two are never mixed."""


class EmbedderMismatch(IndexMismatch):
    """The stored vectors were made by a different embedder than the configured one."""

    def __init__(self, stored: str, configured: str) -> None:
        self.stored = stored
        self.configured = configured
        super().__init__(
            f"the index was made by {stored}, and the configured embedder is {configured}; vectors of two "
            "embedders are never mixed. Configure the index's embedder again, or run `agent-storage reindex`. For your own "
            "embedder, set container.factory to the function that makes its container."
        )


class TextsMismatch(IndexMismatch):
    """The stored vectors were made from texts that were composed by other rules."""

    def __init__(self, stored: str, configured: str) -> None:
        self.stored = stored
        self.configured = configured
        super().__init__(
            f"the index was made from texts of {stored}, but this process makes texts by {configured}; vectors of "
            "texts made by different rules are never mixed. Run `agent-storage reindex`, or, if the version is the same, "
            "restore embedding.text_fields, embedding.take_fields and embedding.leave_fields."
        )


class IndexMissing(AgentStorageError):
    """Rows are marked as indexed, but the collection for their vectors doesn't exist."""

    def __init__(self) -> None:
        super().__init__(
            "extractions are marked as indexed, but Qdrant has no collection: qdrant.path or qdrant.url has "
            "changed, or the data is lost. Correct the setting, or run `agent-storage reindex`."
        )


class GenerationMismatch(AgentStorageError):
    """The vectors' generation isn't the one in SQL: SQL or Qdrant is from an older backup."""

    def __init__(self, collection: str, generation: int) -> None:
        super().__init__(
            f"the vectors in the collection {collection!r} aren't of SQL's current generation, {generation}: SQL or "
            "Qdrant was restored from a backup made before a reindex. Run `agent-storage verify --repair`."
        )


class IndexRebuilding(AgentStorageError):
    """The index is being rebuilt, or a rebuild was interrupted."""

    retryable: ClassVar[bool] = True
    retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__(
            "the index is being rebuilt. Wait for `agent-storage reindex` to finish; if it was interrupted, run it "
            "again: it continues where it stopped."
        )


class ReindexSuperseded(Conflict):
    """A later reindex has started, so this one has stopped."""

    def __init__(self) -> None:
        super().__init__(
            "a later reindex has started, so this one has stopped. The index is usable when the later one is done."
        )


class IndexChanged(AgentStorageError):
    """The index was made with another embedder or other texts than this process uses."""

    retryable: ClassVar[bool] = True
    retry_after_s = 30.0

    def __init__(self, stored: str, configured: str) -> None:
        self.stored = stored
        self.configured = configured
        super().__init__(
            f"the index was made by {stored}, and this process uses {configured}. After a reindex, restart the process "
            "with its settings; after a change of settings, run `agent-storage reindex`, or change them back."
        )
