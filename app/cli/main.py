"""The command line: one module for each group of commands, each a thin layer over a service."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from app.cli import (
    backup,
    config,
    db,
    diagnosis,
    embedders,
    export,
    extractions,
    feed,
    history,
    index,
    ingest,
    jobs,
    metrics,
    projects,
    runs,
    search,
    service,
    sources,
)
from app.cli.chaos import command as chaos
from app.cli.context import at_home, context_of


class _Commands(TyperGroup):
    """Reports wrong arguments and values in this project's words."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as TyperGroup's
        """Run the command."""
        try:
            return super().invoke(ctx)
        except TyperException as error:
            from app.cli.usage_errors import reword

            reword(error)
            raise


app = typer.Typer(
    name="agent-storage",
    cls=_Commands,
    help="Store extractions durably, index them in Qdrant, and find them by meaning and by filter.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agent-storage {version('agent-storage')}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The YAML file of settings. Default: AGENT_STORAGE_CONFIG, else config.yml in AGENT_STORAGE_HOME or here.",
            callback=at_home,
        ),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Remember the configuration file for the command."""
    ctx.obj = replace(context_of(ctx), config_file=config_file)


app.command("serve")(service.serve)
app.command("worker")(service.worker)
app.command("ingest")(ingest.ingest)
app.command("search")(search.search)
app.command("export")(export.export)
app.command("history")(history.history)
app.command("changes")(feed.changes)
app.command("verify")(index.verify)
app.command("metrics")(metrics.metrics)
app.command("adopt")(index.adopt)
app.command("optimize")(index.optimize)
app.command("reindex")(index.reindex)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("doctor")(diagnosis.doctor)
app.command("chaos")(chaos.chaos)
app.command("graph")(diagnosis.graph)
app.add_typer(jobs.app, name="jobs")
app.add_typer(projects.app, name="projects")
app.add_typer(extractions.app, name="extractions")
app.add_typer(sources.app, name="sources")
app.add_typer(runs.app, name="runs")
app.add_typer(embedders.app, name="embedders")
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")
