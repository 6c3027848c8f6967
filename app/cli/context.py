"""The context that a command gets from its entry point, and the functions that run commands."""

import asyncio
import logging
import shlex
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar, cast

import typer

from app.cli.command_parts import CommandParts, OpenParts
from app.cli.output import fail
from app.cli.stores import (
    IfMissing,
    Service,
    found_or,
    of_no_store,
    service_at,
    service_beside,
    through,
)
from app.errors import AgentStorageError
from app.exit_codes import INTERRUPTED

if TYPE_CHECKING:  # commands import their parts only when they run, so that --help stays fast
    from app.cli.ports import ServiceParts
    from app.config import Settings
    from app.domain.text import TextRules

T = TypeVar("T")
P = TypeVar("P")

BOTH = "--near opens the stores on this machine, and --api uses a service; give one of them"

Api = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL",
        help="Use the service at this URL, with the key in AGENT_STORAGE_API_KEY if it requires one.",
    ),
]

Near = Annotated[
    bool,
    typer.Option(
        "--near",
        help="Open the stores here, instead of using the service on this machine that holds the index.",
    ),
]

InProject = Annotated[str, typer.Option("--project", "-p", help="The project.")]
"""For commands on one project. The default is :data:`DEFAULT_PROJECT`, as in ``ingest``."""

DEFAULT_PROJECT = "default"

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class CliContext:
    """The Typer context object of every command."""

    config_file: Path | None
    open_parts: OpenParts
    draw_graph: Callable[[], str]
    serve: "Callable[[Settings, int], None]"
    """Runs the API with the given number of workers until a signal."""
    work: "Callable[[Settings, int], None]"
    """Runs the given number of workers, without the API, until a signal."""

    @cached_property
    def loaded(self) -> "Settings":
        """The validated settings, loaded once; loading them configures logging.

        Raises:
            ConfigurationError: the settings are invalid.
        """
        from app.config import load_settings

        logging.basicConfig(format="%(levelname)s %(message)s")  # first, because loading may warn
        settings = load_settings(self.config_file)
        level = logging.getLevelNamesMapping()[settings.logging.level]
        logging.getLogger("app").setLevel(level)
        # Libraries log every request and every migration at INFO.
        logging.getLogger().setLevel(max(level, logging.WARNING))
        return settings

    def settings(self) -> "Settings":
        """The validated settings; invalid settings end the command with exit code 1."""
        try:
            return self.loaded
        except AgentStorageError as error:
            fail(error)

    def text_rules(self) -> "TextRules":
        """The settings' rules for making texts from extractions."""
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
    missing: IfMissing = IfMissing.REFUSE,
) -> T:
    """Open the container, run a command on an event loop, close everything, and return the result.

    An :class:`AgentStorageError` ends the process with its message and exit code 1, Ctrl-C with
    130.
    """
    context = context_of(ctx)
    settings = context.settings()

    @contextmanager
    def opening() -> Iterator[CommandParts]:
        with (
            found_or(missing, settings) as chosen,
            context.open_parts(chosen, index=index, migrate=migrate, check=check) as parts,
        ):
            yield parts

    return _run(opening(), command, settings)


def run_without_store(ctx: typer.Context, command: Callable[[CommandParts], Coroutine[Any, Any, T]]) -> T:
    """As :func:`run`, for a command that uses no store: none is opened, created or looked for."""
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
    missing: IfMissing = IfMissing.REFUSE,
) -> T:
    """As :func:`run`, but with the parts of the service at the URL ``api`` if one is given.

    A command that needs the ``index`` goes through the service on this machine that holds the
    index, if there is one, unless ``near`` is set.
    """
    service = _service(ctx, api, index=index, near=near)
    if service is None:
        return run(ctx, command, index=index, missing=missing)
    from app.cli.remote.parts import open_remote

    return _run(open_remote(service.url, service.key), command)


def _service(ctx: typer.Context, api: str | None, *, index: bool, near: bool) -> Service | None:
    settings = context_of(ctx).settings()
    if api is not None:
        if near:
            usage_error(BOTH)
        return service_at(api)
    holder = service_beside(settings) if index and not near else None
    return None if holder is None else through(holder, settings)


def _run(
    opening: AbstractContextManager[P],
    command: Callable[[P], Coroutine[Any, Any, T]],
    settings: "Settings | None" = None,
) -> T:
    """Open the parts and run the command; ``settings`` are those of stores that are opened here."""
    try:
        with opening as parts:
            return asyncio.run(command(parts))
    except AgentStorageError as error:
        from app.cli.hints import with_hint

        fail(error if settings is None else with_hint(error, settings))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def to_paste(ctx: typer.Context, api: str | None, *words: str) -> str:
    """A complete command on the stores of this one, in backticks, for a hint."""
    config = context_of(ctx).config_file
    chosen = [] if config is None else ["--config", str(config)]
    return f"`{shlex.join(['agent-storage', *chosen, *words, *([] if api is None else ['--api', api])])}`"


async def to_the_end(writing: Coroutine[Any, Any, T]) -> T:
    """Await a write to its end even if this task is cancelled, so that reported counts are true."""
    task = asyncio.create_task(writing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def at_home(path: Any) -> Any:  # noqa: ANN401 - a Path or a str, returned as the same type
    """Expand a ``~`` that the shell left in a path option or argument."""
    from app.settings.places import expanded

    if path is None:
        return None
    try:
        return type(path)(expanded(str(path)))
    except ValueError as error:
        usage_error(str(error))


def require_no_service(ctx: typer.Context, why: str) -> None:
    """Exit with code 1 if a service on this machine holds the index; ``why`` says what to do."""
    holder = service_beside(context_of(ctx).settings())
    if holder is not None:
        fail(f"the service at {holder.url} (process {holder.pid}) holds the index; {why}")


def no_api(why: str) -> Any:  # noqa: ANN401 - as typer.Option
    """An --api option that always fails with a reason, for commands that can't use a service."""

    def refuse(url: str | None) -> None:
        if url is not None:
            usage_error(f"not supported here: {why}")

    return typer.Option("--api", metavar="URL", help=f"Refused: {why}.", callback=refuse, expose_value=False)


def usage_error(message: str) -> NoReturn:
    """Exit with code 2, as for any invalid argument."""
    raise typer.BadParameter(message)
