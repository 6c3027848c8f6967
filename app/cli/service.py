"""The commands that run until stopped: ``serve`` and ``worker``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.context import context_of
from app.cli.output import fail
from app.errors import AgentStorageError
from app.exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.config import Settings


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="The address to listen on. Default: api.host.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="The port to listen on. Default: api.port.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Workers in this process; 0 leaves jobs to other processes.")
    ] = 1,
) -> None:
    """Serve the HTTP API, and run jobs in the same process.

    Ctrl-C stops the service gracefully; a second one ends it at once.
    """
    given = {"host": host, "port": port}
    settings = _changed(context_of(ctx).settings(), "api", given)
    _run_until_stopped(lambda: context_of(ctx).serve(settings, workers))


def worker(
    ctx: typer.Context,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Workers in this process, each with worker.concurrency jobs.")
    ] = 1,
) -> None:
    """Run only jobs, without the API.

    With PostgreSQL and a Qdrant server, any number of these can run, on any machine.
    """
    settings = context_of(ctx).settings()
    _run_until_stopped(lambda: context_of(ctx).work(settings, workers))


def _run_until_stopped(run: "Callable[[], None]") -> None:
    try:
        run()
    except AgentStorageError as error:
        fail(error)
    except KeyboardInterrupt:  # before the service took over the signals
        raise typer.Exit(INTERRUPTED) from None


def _changed(settings: "Settings", section: str, given: dict[str, Any]) -> "Settings":
    """Override settings by options, and check the result as a whole."""
    from app.errors import ConfigurationError
    from app.settings.checks import contradictions

    update = {name: value for name, value in given.items() if value is not None}
    changed = settings.model_copy(update={section: getattr(settings, section).model_copy(update=update)})
    if problems := contradictions(changed):
        fail(ConfigurationError(problems))
    return changed
