"""What a command gets from its entry point, and how it runs."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol, TypeVar, cast

import typer

from app.cli.output import fail
from app.errors import AgentStorageError

if TYPE_CHECKING:  # a command imports the parts it uses only when it runs, so that --help stays quick
    from sqlalchemy import Engine

    from app.cli.ports import JobRunner, ServiceParts
    from app.cli.stores import Service
    from app.config import Settings
    from app.domain.text import TextRules
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

T = TypeVar("T")
P = TypeVar("P")

INTERRUPTED = 130

BOTH = "--near works on the stores of this machine, and --api on a service; give one of them"

Api = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL",
        help="Use the service that runs there, with the key in AGENT_STORAGE_API_KEY if it wants one.",
    ),
]

Near = Annotated[
    bool,
    typer.Option(
        "--near", help="Open the stores here; don't go through a service of this machine that holds the index."
    ),
]

InProject = Annotated[str, typer.Option("--project", "-p", help="The project.")]
"""Of the commands about one project, which is ``default`` unless they say so, as in ``ingest``."""

DEFAULT_PROJECT = "default"

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class CommandParts(Protocol):
    """The providers of the running container that commands use; each call gives the one instance.

    Declared as methods, so that mypy compares each one's type with the container's provider; a test
    compares the names.
    """

    def backups(self) -> "BackupService":
        """Backs the database up, and restores it."""
        ...

    def changes(self) -> "ChangeService":
        """What changed."""
        ...

    def data_indexing(self) -> "DataIndexing":
        """Makes and drops indexes on data."""
        ...

    def embedder_choices(self) -> "EmbedderChoices":
        """The embedders that there are."""
        ...

    def embedder_comparison(self) -> "EmbedderComparison":
        """Tells how well embedders find texts."""
        ...

    def engine(self) -> "Engine":
        """The connections to the database."""
        ...

    def executor(self) -> "BoundedExecutor":
        """The one thread pool."""
        ...

    def fields(self) -> "FieldService":
        """Counts facts by their fields, and describes these."""
        ...

    def extractions(self) -> "ExtractionService":
        """Looks extractions up, deletes them, and tries them again."""
        ...

    def files_lane(self) -> "Lane":
        """For reading and writing files."""
        ...

    def export(self) -> "ExportService":
        """Hands extractions out."""
        ...

    def health(self) -> "Health":
        """Asks every part how it is."""
        ...

    def indexing(self) -> "IndexingService":
        """Brings the index in line with SQL."""
        ...

    def ingestion(self) -> "IngestionService":
        """Stores extractions."""
        ...

    def jobs(self) -> "JobService":
        """All jobs."""
        ...

    def metrics_collector(self) -> "MetricsCollector":
        """Measures when asked."""
        ...

    def ownership(self) -> "IndexOwnership":
        """Whose index the collection is."""
        ...

    def projects(self) -> "ProjectService":
        """Projects as a whole."""
        ...

    def qdrant_repository(self) -> "QdrantRepository":
        """The vectors."""
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
        """What extractions were taken from."""
        ...

    def worker(self) -> "JobRunner":
        """Runs jobs."""
        ...


class OpenParts(Protocol):
    """Opens the container for one command.

    ``index=False`` leaves Qdrant closed, for commands that need SQL alone and so can run beside a
    process that holds the embedded engine's directory. ``migrate`` and ``check`` are those of
    ``running``.
    """

    def __call__(
        self, settings: "Settings", *, index: bool = True, migrate: bool | None = None, check: bool = True
    ) -> AbstractContextManager[CommandParts]:
        """The open parts, closed at the end."""
        ...


@dataclass(frozen=True)
class CliContext:
    """Handed to every command as Typer's context object."""

    config_file: Path | None
    open_parts: OpenParts
    draw_graph: Callable[[], str]
    serve: "Callable[[Settings, int], None]"
    """Runs the API with that many workers until a signal."""
    work: "Callable[[Settings, int], None]"
    """Runs that many workers alone until a signal."""

    @cached_property
    def loaded(self) -> "Settings":
        """The validated settings, read once a command, with logging set up as they say.

        Raises:
            ConfigurationError: they can't be used.
        """
        from app.config import load_settings

        logging.basicConfig(format="%(levelname)s %(message)s")  # first, because loading may warn
        settings = load_settings(self.config_file)
        level = logging.getLevelNamesMapping()[settings.logging.level]
        logging.getLogger("app").setLevel(level)
        # Libraries tell of every request and every migration at INFO.
        logging.getLogger().setLevel(max(level, logging.WARNING))
        return settings

    def settings(self) -> "Settings":
        """The validated settings; a problem ends the command with exit code 1."""
        try:
            return self.loaded
        except AgentStorageError as error:
            fail(error)

    def text_rules(self) -> "TextRules":
        """How texts are made under the settings."""
        from app.domain.text import TextRules

        embedding = self.settings().embedding
        return TextRules(embedding.text_fields, embedding.take_fields, embedding.leave_fields)


def context_of(ctx: typer.Context) -> CliContext:
    """The typed context object of a command."""
    return cast(CliContext, ctx.obj)


def run(
    ctx: typer.Context,
    command: Callable[[CommandParts], Coroutine[Any, Any, T]],
    *,
    index: bool = True,
    migrate: bool | None = None,
    check: bool = True,
    makes: bool = False,
) -> T:
    """Open the container, run the command on an event loop, close everything, and return its result.

    Only a command that ``makes`` what it needs makes a store where there is none; to the others, it
    is empty there. An error of ours ends the process with exit code 1 and its message; Ctrl-C with
    130.
    """
    from app.cli.stores import existing, note_if_new

    context = context_of(ctx)
    settings = context.settings()
    if makes:
        note_if_new(settings)
    with nullcontext(settings) if makes else existing(settings) as chosen:
        return _run(context.open_parts(chosen, index=index, migrate=migrate, check=check), command)


def run_without_store(ctx: typer.Context, command: Callable[[CommandParts], Coroutine[Any, Any, T]]) -> T:
    """As :func:`run`, for a command to which no store matters: none is opened, made or looked for."""
    from app.cli.stores import of_no_store

    context = context_of(ctx)
    return _run(
        context.open_parts(of_no_store(context.settings()), index=False, migrate=False, check=False), command
    )


def run_at(
    ctx: typer.Context,
    api: str | None,
    command: "Callable[[ServiceParts], Coroutine[Any, Any, T]]",
    *,
    index: bool = True,
    near: bool = False,
    makes: bool = False,
) -> T:
    """As :func:`run`; with the parts of the service that runs at the URL ``api``, if there is one.

    A command that needs the ``index`` goes through the service of this machine that holds it, if
    one does and it isn't to be ``near``.
    """
    service = _service(ctx, api, index=index, near=near)
    if service is None:
        return run(ctx, command, index=index, makes=makes)
    from app.cli.remote.parts import open_remote

    return _run(open_remote(service.url, service.key), command)


def _service(ctx: typer.Context, api: str | None, *, index: bool, near: bool) -> "Service | None":
    from app.cli.stores import service_at, service_beside, through

    settings = context_of(ctx).settings()
    if api is not None:
        if near:
            usage_error(BOTH)
        return service_at(api)
    holder = service_beside(settings) if index and not near else None
    return None if holder is None else through(holder, settings)


def _run(opening: AbstractContextManager[P], command: Callable[[P], Coroutine[Any, Any, T]]) -> T:
    try:
        with opening as parts:
            return asyncio.run(command(parts))
    except AgentStorageError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


async def to_the_end(writing: Coroutine[Any, Any, T]) -> T:
    """Await a write that has begun even if this task is cancelled, so that what is said was written is true."""
    task = asyncio.create_task(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def at_home(path: Any) -> Any:  # noqa: ANN401 - a path or a text, as it came
    """Of an option or argument that is a path: with the home folder in the place of ``~``, where the shell left it."""
    from app.settings.places import expanded

    if path is None:
        return None
    try:
        return type(path)(expanded(str(path)))
    except ValueError as error:
        usage_error(str(error))


def require_no_service(ctx: typer.Context, why: str) -> None:
    """End the command with exit code 1 where a service of this machine holds the index; ``why`` says what to do."""
    from app.cli.stores import service_beside

    holder = service_beside(context_of(ctx).settings())
    if holder is not None:
        fail(f"the service at {holder.url} (process {holder.pid}) holds the index, and {why}")


def no_api(why: str) -> Any:  # noqa: ANN401 - as typer.Option
    """The option --api of a command that can't go through a service, to say why not."""

    def refuse(url: str | None) -> None:
        if url is not None:
            usage_error(f"{why}, and so there is no --api for it")

    return typer.Option("--api", metavar="URL", help=f"Refused: {why}.", callback=refuse, expose_value=False)


def usage_error(message: str) -> NoReturn:
    """End the command with exit code 2, as for any other wrong argument."""
    raise typer.BadParameter(message)
