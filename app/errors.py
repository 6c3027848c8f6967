"""Every error a caller can meet.

One tree: a leaf names the thing, the value and the way out, carries them as attributes, and says in
``retryable`` whether the same call can succeed later without a change by the caller. Errors of other
libraries are translated where they enter. HTTP status and exit code are tables at the edge, not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self


class AgentStorageError(Exception):
    """The root of the tree. ``retry_after_s`` is the least time to wait before another try, where it was told."""

    retryable: ClassVar[bool] = False
    retry_after_s: float | None = None


# --- configuration ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: which key, what stands there (masked if secret), what may."""

    key: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.allowed}"


class ConfigurationError(AgentStorageError):
    """The settings can't be used; carries every problem found, not the first alone."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"the configuration is not usable:\n{lines}\nSee `agent-storage config show`.")


class UnsupportedDialect(AgentStorageError):
    """The database speaks a dialect that a part has no strategy for."""

    def __init__(self, dialect: str, supported: Sequence[str]) -> None:
        self.dialect = dialect
        self.supported = tuple(supported)
        super().__init__(
            f"no job-duration strategy for the SQL dialect {dialect!r}; there is one for "
            f"{', '.join(sorted(self.supported))}. Set database.url to one of these."
        )


class AddressInUse(AgentStorageError):
    """A service can't listen where it is to."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"can't listen on {host} port {port}: {reason}. Stop what does, or name another --port."
        )


class NotStarted(AgentStorageError):
    """A service gave up waiting for a part that it needs."""

    def __init__(self, part: str, timeout_s: float, reason: str, way_out: str) -> None:
        self.part = part
        self.timeout_s = timeout_s
        super().__init__(
            f"gave up waiting for {part} after {timeout_s:g} s (worker.startup_timeout): {reason}. {way_out}"
        )


# --- bad input -------------------------------------------------------------------------------------------


class InvalidInput(AgentStorageError):
    """What the caller handed in can't be accepted; nothing was changed."""


class InvalidField(InvalidInput):
    """A field of an item can't be accepted. ``field`` is its dotted name, cut to 100 characters that print."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field[:100] if field.isprintable() else ascii(field[:100])[1:-1]
        self.reason = reason
        super().__init__(f"{self.field}: {reason}")


class InvalidCondition(InvalidField):
    """The text of a condition can't be read. ``place`` counts characters from 1; ``near`` is the text around it."""

    def __init__(self, place: int, near: str, problem: str) -> None:
        self.place = place
        self.near = near
        self.problem = problem
        super().__init__("where", f"at character {place:,}, near {near!r}: {problem}")


class InvalidItem(InvalidInput):
    """One item of a batch can't be accepted.

    ``index`` counts from 0 within the batch; ``field`` is the dotted name of the offending field,
    or None.
    """

    def __init__(self, index: int, reason: str, field: str | None = None) -> None:
        self.index = index
        self.reason = reason
        self.field = field
        super().__init__(f"item {index}: {reason}")


class InvalidLine(InvalidInput):
    """One line of a replace can't be accepted. Lines count from 1; ``field`` is the offending field's name, or None.

    ``unit`` is what a line is called where it was read, such as ``row``.
    """

    def __init__(self, line: int, reason: str, field: str | None = None, unit: str = "line") -> None:
        self.line = line
        self.reason = reason
        self.field = field
        super().__init__(f"{unit} {line:,}: {reason}")

    @classmethod
    def of(cls, line: int, error: InvalidInput, unit: str = "line") -> Self:
        """What is wrong with a line."""
        return cls(line, str(error), error.field if isinstance(error, InvalidField) else None, unit)


class InvalidVector(InvalidInput):
    """A vector has the wrong dimension, isn't finite in float32, or is zero. ``index`` counts from 0."""

    def __init__(self, index: int, reason: str) -> None:
        self.index = index
        self.reason = reason
        super().__init__(f"vector {index}: {reason}")


class SourceRepeated(InvalidInput):
    """A source comes twice in one replace. The lines count from 1; ``unit`` is what they are called."""

    def __init__(self, source_uri: str, first_line: int, line: int, unit: str = "line") -> None:
        self.source_uri = source_uri
        self.first_line = first_line
        self.line = line
        super().__init__(
            f"{unit} {line:,}: source {source_uri[:200]!r} was at {unit} {first_line:,} already; all {unit}s of a source "
            "stand together"
        )


class NotFound(AgentStorageError):
    """Something asked for by name or id isn't there."""

    def __init__(self, kind: str, key: object) -> None:
        self.kind = kind
        self.key = key
        super().__init__(f"no {kind} {str(key)!r}")


class Conflict(AgentStorageError):
    """What was asked contradicts what is there; nothing was changed."""


class ProjectExists(Conflict):
    """There is a project of that name already."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is a project {name!r} already")


class JobStateConflict(Conflict):
    """A job isn't in a state in which it could be cancelled or retried."""

    def __init__(self, job_id: object, status: str, wanted: str) -> None:
        self.job_id = job_id
        self.status = status
        super().__init__(f"job {job_id} is {status}, and so can't be {wanted}")


class RunEnded(Conflict):
    """Nothing more can be handed in under a run that has ended."""

    def __init__(self, run_id: object) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} has ended; begin another")


class StaleReplace(Conflict):
    """What was handed in was observed before what the source was last replaced with."""

    def __init__(self, source_uri: str, observed_at: datetime, newest: datetime) -> None:
        self.source_uri = source_uri
        self.observed_at = observed_at
        self.newest = newest
        super().__init__(
            f"source {source_uri[:200]!r} was last replaced with what was observed at {newest.isoformat()}, and this was "
            f"observed before, at {observed_at.isoformat()}; an older observation never replaces a newer one"
        )


class MassDeleteRefused(Conflict):
    """A replace would remove most facts of a source or a project."""

    def __init__(self, what: str, removed: int, of: int) -> None:
        self.removed = removed
        self.of = of
        super().__init__(
            f"this would remove {removed:,} of the {of:,} facts of {what}; if that is meant, allow it with "
            "allow_mass_delete (--allow-mass-delete)"
        )


class HistoryPruned(Conflict):
    """What was asked lies behind what the ledger still holds."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} lies behind what the ledger still holds (retention.history)")


class IdempotencyConflict(Conflict):
    """The ``Idempotency-Key`` was used for another request."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"the Idempotency-Key {key[:100]!r} was used for another request; use a new key for a new request"
        )


# --- bounds ----------------------------------------------------------------------------------------------


class Saturated(AgentStorageError):
    """A lane already holds as many waiting callers as it may; the call was refused at once."""

    retryable: ClassVar[bool] = True

    def __init__(self, lane: str, waiting: int, *, retry_after_s: float = 1.0) -> None:
        self.lane = lane
        self.waiting = waiting
        self.retry_after_s = retry_after_s
        super().__init__(
            f"the {lane} lane is full: {waiting} callers wait already. Try again in {retry_after_s:g} s, "
            f"or raise executor.max_workers or executor.max_waiting."
        )


class DeadlineExceeded(AgentStorageError):
    """The caller's time ran out; counted from when it asked. What already runs may still take effect."""

    retryable: ClassVar[bool] = True

    def __init__(self, what: str, timeout_s: float) -> None:
        self.what = what
        self.timeout_s = timeout_s
        super().__init__(f"{what} took longer than {timeout_s:g} s")


class ShuttingDown(AgentStorageError):
    """The executor takes no new work, or dropped work that waited, because the process is stopping."""

    retryable: ClassVar[bool] = True

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} is shutting down and takes no more work")


# --- a running service ------------------------------------------------------------------------------------


class ServiceError(AgentStorageError):
    """A running service refused a request, or what answered there is none.

    ``asked`` is the method and the URL; ``status`` is None where no answer of HTTP came;
    ``request_id`` is what the service's log calls the request.
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
    """A running service didn't answer usefully until the deadline, or isn't there."""

    retryable: ClassVar[bool] = True


class JobFailed(AgentStorageError):
    """A job that somebody waits for has failed for good."""

    def __init__(self, job_id: object, reason: str) -> None:
        self.job_id = job_id
        self.reason = reason
        super().__init__(
            f"job {job_id} failed: {reason}. `agent-storage jobs retry {job_id}` has it tried again."
        )


class JobStalled(AgentStorageError):
    """A job that somebody waits for is open, and nothing has happened to it for too long."""

    retryable: ClassVar[bool] = True

    def __init__(self, job_id: object, status: str, silent_s: float, reason: str | None) -> None:
        self.job_id = job_id
        self.status = status
        failure = "" if reason is None else f" Its last failure was: {reason}."
        super().__init__(
            f"job {job_id} is {status}, and nothing has happened to it for {silent_s:g} s.{failure} Does a worker "
            f"run, and is its type paused? `agent-storage jobs show {job_id}` says how it stands."
        )


# --- SQL -------------------------------------------------------------------------------------------------


class DatabaseError(AgentStorageError):
    """The database refused a statement; never contains the statement's values."""


class DatabaseUnavailable(DatabaseError):
    """The database can't be reached, or dropped the connection."""

    retryable: ClassVar[bool] = True


class DatabaseConflict(DatabaseUnavailable):
    """A transaction was in the way of another one, and nothing of it was kept."""


class DatabaseForeign(DatabaseError):
    """What the database holds is another application's. ``found`` says what was found of it."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(
            f"the database holds another application's tables: {found}. Nothing was changed. Give agent-storage a database "
            "of its own; or, on PostgreSQL, a schema: CREATE SCHEMA agent_storage, and ?options=-csearch_path%3Dagent_storage "
            "at the end of database.url."
        )


class DatabaseForbidden(DatabaseError):
    """The database's role lacks a right; ``refused`` is the server's word for it."""

    def __init__(self, refused: str, role: str) -> None:
        self.refused = refused
        super().__init__(
            f"the database refused: {refused}. The role {role} needs, from the owner of its database: for `agent-storage "
            f'db upgrade`, GRANT USAGE, CREATE ON SCHEMA public TO "{role}"; for all else, that it owns the tables, or '
            f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{role}", and USAGE ON ALL SEQUENCES.'
        )


class DatabaseSchemaAbsent(DatabaseError):
    """PostgreSQL has no schema to make tables in."""

    def __init__(self, role: str) -> None:
        super().__init__(
            "the database has none of the schemas that the connection's search_path names, so there is no place for tables. "
            f'Make it (CREATE SCHEMA NAME AUTHORIZATION "{role}"), or name another in database.url '
            "(?options=-csearch_path%3DNAME)."
        )


class DatabaseTimeout(DatabaseError):
    """The database ended a statement or a transaction that took longer than it may; nothing of it was kept.

    ``limit_s`` is None where the limit isn't one of ours.
    """

    retryable: ClassVar[bool] = True

    def __init__(self, what: str, limit_s: float | None, setting: str) -> None:
        self.what = what
        self.limit_s = limit_s
        self.setting = setting
        limit = f"than {setting} allows" if limit_s is None else f"than {limit_s:g} s ({setting})"
        super().__init__(
            f"{what} for longer {limit}, and the database ended it; nothing of its transaction was kept"
        )


class DatabaseDiskFull(DatabaseUnavailable):
    """There is no room left on the disk of SQLite's file; nothing of the transaction was stored."""

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__(
            f"the disk is full: the database {file} can't grow. Nothing of this transaction was stored, and all that "
            "was stored before is kept. Free space on that disk, and try again."
        )


class DatabaseReadOnly(DatabaseError):
    """SQLite's file can be read and not written to."""

    def __init__(self, file: str, code: str) -> None:
        self.file = file
        super().__init__(
            f"the database {file} can't be written to ({code}). Let this process's user write to it and to its "
            "folder, or set database.url to a file in a place that can be written to."
        )


class DatabaseWritesRefused(DatabaseUnavailable):
    """PostgreSQL can only be read: a standby answers, or transactions are read-only by default."""

    retry_after_s = 2.0

    def __init__(self) -> None:
        super().__init__(
            "the database takes no writes: the server at database.url is a standby, or default_transaction_read_only "
            "is on. After a failover this passes when database.url leads to the primary. If it lasts, name the "
            "primary in database.url, or turn default_transaction_read_only off."
        )


class DatabaseEncodingUnfit(DatabaseError):
    """PostgreSQL's database has an encoding that can't hold every text."""

    def __init__(self, database: str, encoding: str) -> None:
        self.database = database
        self.encoding = encoding
        super().__init__(
            f"the database {database} has the encoding {encoding}, which can't hold every text; it must be UTF8, and "
            "can't be changed. Make another with `createdb -E UTF8 -T template0 NAME`, name it in database.url, and "
            "run `agent-storage db upgrade`."
        )


class DatabaseDamaged(DatabaseError):
    """SQLite's file holds something that SQLite doesn't understand."""

    def __init__(self, file: str, code: str) -> None:
        self.file = file
        self.code = code
        super().__init__(
            f"the database {file} is damaged, or is no SQLite file ({code}). Stop what uses it, and put a backup in its "
            "place: `agent-storage restore DIR --overwrite`, which keeps the damaged file beside it, and then "
            "`agent-storage verify --repair`. Without a backup, SQLite's own `.recover` saves what can still be read."
        )


class SchemaMismatch(DatabaseError):
    """The database's schema isn't the one this version works with."""

    def __init__(self, found: str | None, expected: str) -> None:
        self.found = found
        self.expected = expected
        told = f"the database schema is at {found or 'no revision'}, this version needs {expected}. "
        older = "Run `agent-storage db upgrade`."
        newer = (
            "A newer agent-storage has upgraded it, which this one can't undo. Install that version or a later one "
            "(`agent-storage --version` says which this is); or, to stay with this one, restore a backup that it can "
            "read: `agent-storage restore DIR --overwrite`. What was stored since that backup would be gone."
        )
        super().__init__(told + (newer if self.is_newer else older))

    @property
    def is_newer(self) -> bool:
        """Whether a later version has upgraded the database; revisions are numbers with as many digits."""
        return self.found is not None and self.found > self.expected


class SchemaMissing(DatabaseError):
    """A statement met a database without the tables of this version."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the database lacks what a statement needs: {reason}. Open the container with `running(container)`, which "
            "brings SQLite's schema up to date and checks others', or run `agent-storage db upgrade`."
        )


class LeaseLost(AgentStorageError):
    """The job's lease ran out and the job may be another worker's now; nothing was marked or settled."""

    def __init__(self, job_id: object, attempt: int) -> None:
        self.job_id = job_id
        self.attempt = attempt
        super().__init__(f"attempt {attempt} of job {job_id} has lost its lease")


class TimeLimitExceeded(AgentStorageError):
    """An attempt at a job took longer than its type may take; it was stopped."""

    retryable: ClassVar[bool] = True

    def __init__(self, job_type: str, limit_s: float) -> None:
        self.job_type = job_type
        self.limit_s = limit_s
        super().__init__(
            f"the {job_type} job took longer than {limit_s:g} s; worker.time_limit and worker.time_limits say how "
            "long it may"
        )


class HandlerCrashed(AgentStorageError):
    """A job's handler raised what no handler may raise, such as ``SystemExit``."""

    retryable: ClassVar[bool] = True

    def __init__(self, job_type: str, reason: str) -> None:
        self.job_type = job_type
        self.reason = reason
        super().__init__(f"the handler of {job_type} jobs crashed: {reason}")


class JobCancelled(AgentStorageError):
    """Somebody asked the running job to stop; what it has done until now stays."""

    def __init__(self, job_id: object) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id} was cancelled")


# --- backups ---------------------------------------------------------------------------------------------


class BackupError(AgentStorageError):
    """A backup can't be made, or not be restored; the store is as it was."""


class NothingToBackUp(BackupError):
    """The database isn't there, or holds no tables of agent-storage."""

    def __init__(self, database: str) -> None:
        self.database = database
        super().__init__(
            f"there is nothing to back up: the database {database} is missing or was never used. Set database.url, or "
            "run this in the folder of the store."
        )


class BackupUnsupported(BackupError):
    """The database has no file that could be copied or replaced."""

    def __init__(self, database: str, reason: str) -> None:
        self.database = database
        super().__init__(f"the database {database} can't be backed up or restored: {reason}")


class BackupFailed(BackupError):
    """A copy of the database couldn't be read or written to its end; what was written of it is gone."""

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(f"copying to {file} failed, and nothing was kept of it: {reason}")


class BackupRunning(BackupError):
    """Another process is writing a backup to that folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"another backup is being written to {folder}. Wait for it, or name another folder.")


class BackupMissing(BackupError):
    """There is no whole backup where one is looked for; ``found`` says what is there instead."""

    def __init__(self, path: str, found: str) -> None:
        self.path = path
        super().__init__(
            f"no whole backup in {path}: {found}. `agent-storage backup {path}` makes one there; to restore from "
            "elsewhere, name another folder or the file itself."
        )


class BackupUnusable(BackupError):
    """A file isn't a whole backup: it was cut or changed, or isn't this program's."""

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
            f"{file} was made by agent-storage {made_by} with {found}, and this version knows {expected} at most. "
            "Nothing was changed; upgrade agent-storage, and restore it then."
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
    """A restore would replace what is stored; ``holds`` says what that is."""

    def __init__(self, database: str, holds: str) -> None:
        self.database = database
        self.holds = holds
        super().__init__(
            f"the database {database} {holds}. Nothing was changed; --overwrite replaces it by the backup, or set "
            "database.url to a store that is empty."
        )


# --- exports ---------------------------------------------------------------------------------------------


class ExtraMissing(AgentStorageError):
    """What was asked for needs a package that only an extra of this one brings."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{what} needs {package}, which isn't installed here. It comes with the extra {extra!r}: "
            f"`pip install 'agent-storage[{extra}]'`."
        )


class ExportFailed(AgentStorageError):
    """An export's file couldn't be written; nothing of it is kept."""

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(f"writing {file} failed, and nothing was kept of it: {reason}")


# --- Qdrant ----------------------------------------------------------------------------------------------


class QdrantError(AgentStorageError):
    """Qdrant refused a request; says what was asked of which collection."""

    def __init__(self, operation: str, collection: str, reason: str) -> None:
        self.operation = operation
        self.collection = collection
        self.reason = reason
        super().__init__(f"Qdrant could not {operation} (collection {collection!r}): {reason}")


class QdrantUnavailable(QdrantError):
    """Qdrant didn't answer usefully until the deadline (refused, reset, timed out, 429 or 5xx)."""

    retryable: ClassVar[bool] = True

    def __init__(
        self, operation: str, collection: str, reason: str, *, retry_after_s: float | None = None
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(operation, collection, reason)


class QdrantDiskFull(QdrantUnavailable):
    """There is too little room left on the disk of the embedded engine's directory; nothing was written."""


class CollectionMissing(QdrantError):
    """There is no such collection: it is being made, or somebody has dropped it."""

    retryable: ClassVar[bool] = True


class ForeignCollection(QdrantError):
    """The collection is the index of another store; ``owner`` is that store's id, None where it can't be told."""

    def __init__(self, operation: str, collection: str, owner: str | None, store_id: str) -> None:
        self.owner = owner
        self.store_id = store_id
        whose = (
            "holds points that this database knows nothing of" if owner is None else f"belongs to store {owner}"
        )
        super().__init__(
            operation,
            collection,
            f"it {whose}, and this database is store {store_id}. Name another collection in qdrant.collection; or, if "
            "it is meant to be this database's from now on (after a restore, say), run `agent-storage adopt`.",
        )


class CollectionMismatch(QdrantError):
    """The collection exists with another vector size or distance; it is never altered."""

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
    """Another process has the embedded engine's directory open; ``service`` describes it, if it says of itself."""

    def __init__(self, path: str, collection: str, service: str | None = None) -> None:
        self.path = path
        self.service = service
        wait = (
            "Wait for it or stop it; if it is a service, name it with --api"
            if service is None
            else f"It is {service}. Go through it (commands do so by themselves, with the same database and without --near), "
            "or stop it"
        )
        super().__init__(
            "open the data directory",
            collection,
            f"another process is using {path}. {wait}; for several processes at once, run a Qdrant server and set "
            "qdrant.url. (qdrant.path says which directory is meant.)",
        )


# --- embedding -------------------------------------------------------------------------------------------


class EmbeddingError(AgentStorageError):
    """The embedder can't embed what it was given; trying again won't help.

    ``reason`` is the message without the ``advice``, which holds only if no text can be embedded.
    """

    def __init__(self, reason: str, *, advice: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}; {advice}" if advice else reason)


class EmbeddingRejected(EmbeddingError):
    """The embedder refused these very texts; one of them alone may be to blame, and the others fine.

    ``fits`` is set if a text is too long: the share of it that the model takes, as far as that is
    known.
    """

    def __init__(self, reason: str, *, fits: float | None = None) -> None:
        self.fits = fits
        super().__init__(reason)


class EmbeddingUnavailable(EmbeddingError):
    """The embedding endpoint didn't answer usefully until the deadline.

    ``busy`` says that it limits how much is asked of it, which is no fault of a text.
    """

    retryable: ClassVar[bool] = True

    def __init__(self, reason: str, *, retry_after_s: float | None = None, busy: bool = False) -> None:
        self.retry_after_s = retry_after_s
        self.busy = busy
        super().__init__(reason)


class IndexMismatch(AgentStorageError):
    """The stored vectors aren't what this process makes, and aren't mixed with its own."""


class EmbedderMismatch(IndexMismatch):
    """The stored vectors were made by another embedder than the configured one."""

    def __init__(self, stored: str, configured: str) -> None:
        self.stored = stored
        self.configured = configured
        super().__init__(
            f"the index was made by {stored}, and the configured embedder is {configured}; vectors of two "
            "embedders are never mixed. Configure the former again, or run `agent-storage reindex`. For an embedder of your "
            "own, container.factory names the function that makes its container."
        )


class TextsMismatch(IndexMismatch):
    """The stored vectors were made of other texts than are made now."""

    def __init__(self, stored: str, configured: str) -> None:
        self.stored = stored
        self.configured = configured
        super().__init__(
            f"the index was made from texts of {stored}, and texts are now made by {configured}; vectors of texts that were "
            "made in two ways are never mixed. Run `agent-storage reindex`, or set embedding.text_fields, "
            "embedding.take_fields and embedding.leave_fields as before, if the version is the same."
        )


class IndexMissing(AgentStorageError):
    """Rows are marked as indexed, and the collection that should hold their vectors isn't there."""

    def __init__(self) -> None:
        super().__init__(
            "extractions are marked as indexed, and Qdrant has no collection: qdrant.path or qdrant.url names "
            "another place than before, or its data is gone. Name the right one, or run `agent-storage reindex`."
        )


class GenerationMismatch(AgentStorageError):
    """The vectors are of another rebuild than the last one in SQL: SQL or Qdrant is of an older backup."""

    def __init__(self, collection: str, generation: int) -> None:
        super().__init__(
            f"the vectors in the collection {collection!r} aren't of generation {generation}, which SQL says the index is "
            "of: SQL or Qdrant was restored from a backup of before a reindex. Run `agent-storage verify --repair`."
        )


class IndexRebuilding(AgentStorageError):
    """The index is being rebuilt, or a rebuild was cut short."""

    retryable: ClassVar[bool] = True
    retry_after_s = 5.0

    def __init__(self) -> None:
        super().__init__(
            "the index is being rebuilt. Wait for `agent-storage reindex` to end; if it was interrupted, run it again: "
            "it goes on where it stopped."
        )


class ReindexSuperseded(Conflict):
    """Another reindex has begun, and this one has ended for it."""

    def __init__(self) -> None:
        super().__init__(
            "another reindex has begun since, and this one has ended. The index is usable when that one is done."
        )


class IndexChanged(AgentStorageError):
    """The index was rebuilt by another embedder, or from other texts, since this process was started."""

    retryable: ClassVar[bool] = True
    retry_after_s = 30.0

    def __init__(self, stored: str, configured: str) -> None:
        self.stored = stored
        self.configured = configured
        super().__init__(
            f"the index was rebuilt by {stored}, and this process still makes {configured}. Restart it with "
            "the settings that `agent-storage reindex` ran with."
        )
