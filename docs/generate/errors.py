"""The reference of the errors, from ``app/errors.py``, the API's table, and the advice below."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from app import errors
from app.api.problems import KINDS, Kind
from app.errors import AgentStorageError
from generate.commands import EXIT_CODES, FAILED
from generate.markdown import code, page, plain, table
from generate.openapi import problem_kinds

Error = type[AgentStorageError]

_INTRODUCTION = """\
Every error that agent-storage reports, with its HTTP status, its exit code, what it means and
what to do.

In Python each is a class of `app.errors`. Over HTTP it is a [problem](api.md#problems): the type
is `urn:agent-storage:problem:` and the word in the table. On the command line its message
follows `Error:` on standard error. An error that is *retryable* can go away without a change on
your side: send the same call again, over HTTP after `Retry-After` seconds. An error with status
500 isn't meant for callers of the API: its message is only in the log, under the `request_id` of
the answer."""

_EXIT_CODES = "Every error below ends a command with exit code 1. All exit codes:"

_HTTP = """\
The API rejects these requests before they reach a service, so Python and the command line don't
have them. Nothing was changed, unless the answer says how many items were stored."""

_SECTION = re.compile(r"# --- (.+?) -+")
_TITLES = {
    "configuration": "Configuration and start",
    "bad input": "Input and conflicts",
    "bounds": "Overload and deadlines",
    "a running service": "A running service",
    "SQL": "Database and jobs",
    "backups": "Backups",
    "exports": "Exports",
    "Qdrant": "Qdrant",
    "embedding": "Embedding and the index",
}

WHAT_TO_DO: Mapping[Error, str] = {
    AgentStorageError: "See the log. This is the base class of all errors; catch it to catch every one.",
    errors.ConfigurationError: (
        "Correct each setting that the message names. `agent-storage config check` looks for "
        "mistakes, and `agent-storage config show` prints where each value comes from."
    ),
    errors.UnsupportedDialect: "Set `database.url` to a SQLite or PostgreSQL database.",
    errors.UnfitPart: (
        "Add the members that the message names; the protocol's docstrings say what they do. Pass an instance to "
        "`create_container`, or a provider of one."
    ),
    errors.AddressInUse: "Stop the program that listens there, or start with another `--port`.",
    errors.NotStarted: (
        "Start the part that the message names, or raise `worker.startup_timeout` if it takes longer to start."
    ),
    errors.ProcessFailed: "Read the output or the log that the message names, correct the cause, and start `chaos` again.",
    errors.InvalidInput: "Correct the input as the message says, and send it again.",
    errors.InvalidField: "Correct the field that the message names.",
    errors.InvalidCondition: "Correct the condition at the character that the message gives.",
    errors.InvalidItem: "Correct the item; its index counts from 0 within the request or batch.",
    errors.InvalidLine: "Correct the line or row; it counts from 1 within the file or stream.",
    errors.InvalidVector: (
        "Check the embedder: each vector must have its dimension, be finite in float32, and not be zero."
    ),
    errors.SourceRepeated: "Sort the lines by source, so that all lines of a source are consecutive.",
    errors.NotFound: "Check the name or id, and the project. The thing may have been deleted since.",
    errors.Conflict: "Read the current state, and decide again.",
    errors.ProjectExists: "Use the existing project, or choose another name.",
    errors.JobStateConflict: (
        "See its status with `agent-storage jobs show ID`. An open job can be cancelled, a failed"
        " or cancelled one retried."
    ),
    errors.RunEnded: "Begin another run.",
    errors.StaleReplace: (
        "Nothing, if the observation is old. Otherwise correct `observed_at`; the source keeps the newer facts."
    ),
    errors.MassDeleteRefused: (
        "Check the input: it may be an empty page of a broken crawler. If the deletion is "
        "intended, repeat with `--allow-mass-delete` (`allow_mass_delete`)."
    ),
    errors.HistoryPruned: (
        "Begin the feed without a cursor, and read the current state. Raise `retention.history` "
        "to keep more from now on."
    ),
    errors.IdempotencyConflict: "Use a new `Idempotency-Key` for each new request.",
    errors.Saturated: (
        "Send fewer requests at once, and retry. If it lasts, raise `executor.max_workers` or "
        "`executor.max_waiting`."
    ),
    errors.DeadlineExceeded: (
        "Retry; the call may have taken effect. If it lasts, see which part is slow with "
        "`agent-storage doctor`."
    ),
    errors.ShuttingDown: "Retry once the process has started again.",
    errors.ServiceError: "Do as the answer says; the service's log has more under the request id.",
    errors.ServiceUnavailable: "Check the URL of `--api` and that the service runs, and retry.",
    errors.JobFailed: "Remove the cause that the message gives, then run `agent-storage jobs retry ID`.",
    errors.JobStalled: (
        "Check that a worker runs and that the job's type isn't paused: `agent-storage jobs show "
        "ID`, `agent-storage jobs resume TYPE`."
    ),
    errors.DatabaseError: "Read the database's own message in the error, and its log.",
    errors.DatabaseUnavailable: (
        "Check that the database runs and that `database.url` leads to it. Then retry."
    ),
    errors.DatabaseConflict: "Retry. The transaction was run again several times before this error.",
    errors.StoreMissing: (
        "Go to the store's folder, or set `AGENT_STORAGE_HOME`. In a new place, `agent-storage ingest` creates a store."
    ),
    errors.DatabaseForeign: (
        "Give agent-storage its own database, or its own schema on PostgreSQL; the message has the statements."
    ),
    errors.DatabaseForbidden: "Have the database's owner run the `GRANT` that the message gives.",
    errors.DatabaseSchemaAbsent: "Create the schema, or name another in `database.url`.",
    errors.DatabaseTimeout: (
        "Retry. If it lasts, narrow the query, add an index (`database.data_indexes`), or raise "
        "the setting that the message names."
    ),
    errors.DatabaseDiskFull: "Free space on the disk of the database; no restart is needed.",
    errors.DatabaseReadOnly: (
        "Let the process's user write to the file and its folder, or set another `database.url`."
    ),
    errors.DatabaseWritesRefused: (
        "Wait, after a failover. If it lasts, name the primary in `database.url`, or turn "
        "`default_transaction_read_only` off."
    ),
    errors.DatabaseEncodingUnfit: (
        "Create a database with `createdb -E UTF8 -T template0 NAME`, name it in `database.url`, "
        "and run `agent-storage db upgrade`."
    ),
    errors.DatabaseDamaged: (
        "Stop the processes that use the database. Run `agent-storage restore DIR --overwrite`, then "
        "`agent-storage verify --repair`."
    ),
    errors.SchemaMismatch: (
        "Older schema: `agent-storage db upgrade`. Newer schema: install the version that "
        "upgraded it, or a later one."
    ),
    errors.SchemaMissing: "Run `agent-storage db upgrade`, or open the container with `running(container)`.",
    errors.LeaseLost: (
        "Nothing: another worker runs the job. If it is frequent, the process stalls for longer "
        "than `worker.lease_timeout`."
    ),
    errors.TimeLimitExceeded: (
        "The job is tried again. Raise `worker.time_limit`, or its type's entry in `worker.time_limits`."
    ),
    errors.HandlerCrashed: "Correct the handler: it must raise exceptions, and never end the process.",
    errors.JobCancelled: "Nothing. Queue the job again if it is needed after all.",
    errors.BackupError: "Do as the message says; the store is unchanged.",
    errors.NothingToBackUp: "Set `database.url`, or run the command in the folder of the store.",
    errors.BackupUnsupported: "Use a database that has a file, or the database's own tools.",
    errors.BackupFailed: "Free space in the folder, or let the user write to it, and repeat.",
    errors.BackupRunning: "Wait until the other backup is done, or name another folder.",
    errors.BackupMissing: "Name the folder or the file of a complete backup.",
    errors.BackupUnusable: "Name another backup; this file was cut off or changed, or isn't a backup.",
    errors.BackupTooNew: "Upgrade agent-storage to the version that made the backup, then restore.",
    errors.StoreInUse: "Stop the service, the workers and the commands that use the database, then restore.",
    errors.StoreHasData: "Name an empty store, or replace the stored data with `--overwrite`.",
    errors.ExtraMissing: "Install the extra: `pip install 'agent-storage[EXTRA]'`.",
    errors.ExportFailed: "Free space, or let the user write to the folder, and repeat.",
    errors.QdrantError: "Read Qdrant's own message in the error, and its log.",
    errors.QdrantUnavailable: "Check that Qdrant runs and that `qdrant.url` leads to it. Then retry.",
    errors.QdrantDiskFull: "Free space on the disk of `qdrant.path`, or of the Qdrant server; no restart is needed.",
    errors.CollectionMissing: (
        "Run `agent-storage reindex`, unless another process is creating the collection."
    ),
    errors.ForeignCollection: (
        "Name another `qdrant.collection`. After a restore, if the collection is this store's, run "
        "`agent-storage adopt`."
    ),
    errors.CollectionMismatch: (
        "Run `agent-storage reindex`, or set `qdrant.path` or `qdrant.url` to the right place."
    ),
    errors.DataDirectoryLocked: (
        "Go through the service that holds the folder (`--api URL`), or stop the other process. "
        "For several processes, use a Qdrant server."
    ),
    errors.EmbeddingError: "Check `embedding` in the settings; `agent-storage doctor` tries the embedder.",
    errors.EmbeddingRejected: (
        "Shorten or correct the text. A stored extraction is set aside; `agent-storage "
        "extractions retry` tries it again."
    ),
    errors.EmbeddingUnavailable: (
        "Check the endpoint at `embedding.base_url`. Jobs are retried automatically."
    ),
    errors.IndexMismatch: "Run `agent-storage reindex`, or restore the old settings.",
    errors.EmbedderMismatch: "Configure the embedder that the message names, or run `agent-storage reindex`.",
    errors.TextsMismatch: (
        "Run `agent-storage reindex`, or restore `embedding.text_fields`, `take_fields` and `leave_fields`."
    ),
    errors.IndexMissing: (
        "Name the right place in `qdrant.path` or `qdrant.url`, or run `agent-storage reindex`."
    ),
    errors.GenerationMismatch: "Run `agent-storage verify --repair`.",
    errors.IndexRebuilding: (
        "Wait for `agent-storage reindex`. If it was interrupted, run it again; it resumes."
    ),
    errors.ReindexSuperseded: "Nothing: the newer reindex completes the index.",
    errors.IndexChanged: "Restart the process with the settings that `agent-storage reindex` ran with.",
}
"""What to do about each error of the tree."""

WHAT_TO_DO_OVER_HTTP: Mapping[str, str] = {
    "body-too-large": "Send fewer items in each request, or raise `api.max_body_bytes`.",
    "body-too-slow": "Send the body without long pauses.",
    "content-encoding": "Send the body without compression.",
    "foreign-host": (
        "Call the service by an address of its own machine, or set `api.api_keys` and send a key."
    ),
    "headers-too-large": "Send fewer or shorter headers.",
    "headers-too-slow": "Send the whole head of a request at once.",
    "invalid-json": "Correct the JSON of the body.",
    "malformed-request": "Send HTTP/1.1; for TLS, use the proxy's address.",
    "media-type": "Set `Content-Type` to a media type that the operation names.",
    "method-not-allowed": "Use a method that the header `Allow` names.",
    "nested-too-deep": "Nest the JSON less deeply.",
    "not-authenticated": "Send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`.",
    "starting": "Retry after `Retry-After` seconds: the service waits for its database.",
    "string-too-long": "Shorten the string.",
    "too-many-items": "Send fewer items in each request.",
    "too-many-parameters": "Send fewer query parameters, or put the filter into a body.",
    "too-many-values": "Send less in each request.",
    "url-too-long": "Shorten the URL, or put the filter into a body.",
}
"""What to do about each type of problem that no error of the tree has."""


def errors_page() -> str:
    """Generate the page.

    Raises:
        KeyError: an error or a type of problem has no advice.
    """
    blocks = ["# Errors", _INTRODUCTION, _EXIT_CODES, table(("Code", "Meaning"), EXIT_CODES)]
    for title, members in sections():
        blocks += [f"## {title}", *map(_error, members)]
    return page(*blocks, "## Requests that are rejected early", _HTTP, _early())


def sections() -> Iterator[tuple[str, list[Error]]]:
    """Yield each section of the module of errors with its errors; the base class comes first."""
    text = Path(errors.__file__).read_text(encoding="utf-8")
    lines = {node.name: node.lineno for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    title, members = "The base class", list[Error]()
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _SECTION.fullmatch(line):
            yield title, members
            title, members = _TITLES.get(found[1], found[1].capitalize()), []
        members += [
            kind
            for name, kind in vars(errors).items()
            if lines.get(name) == number and issubclass(kind, AgentStorageError)
        ]
    yield title, members


def early_problems() -> Mapping[str, int]:
    """Return the types of problems that no error of the tree has, with their status."""
    known = {kind.slug for kind in KINDS.values()}
    found = {slug: status for status, slugs in problem_kinds().items() for slug in slugs - known}
    return {**found, "method-not-allowed": 405}


def _error(kind: Error) -> str:
    meaning = re.split(r"\n\s*\n", kind.__doc__ or "")[0]
    problem = _problem(kind)
    row = (str(problem.status), code(problem.slug), FAILED, "yes" if kind.retryable else "no")
    return page(
        f"### {kind.__name__}",
        plain(meaning),
        f"**What to do:** {plain(WHAT_TO_DO[kind])}",
        table(("HTTP status", "Type", "Exit code", "Retryable"), [row]),
    ).rstrip()


def _problem(kind: Error) -> Kind:
    return next(KINDS[each] for each in kind.__mro__ if each in KINDS)


def _early() -> str:
    rows = [
        (str(status), code(slug), plain(WHAT_TO_DO_OVER_HTTP[slug]))
        for slug, status in sorted(early_problems().items(), key=lambda each: (each[1], each[0]))
    ]
    return table(("HTTP status", "Type", "What to do"), rows)
