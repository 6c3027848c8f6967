"""``agent-storage projects``."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import Api, Json, Near, Yes, run_at
from app.cli.output import counted, fail, note, print_json, print_table, say, shown_moment
from app.cli.stores import is_remote
from app.domain.documents import deleted_as_dict

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts
    from app.domain.outcomes import Deleted

app = typer.Typer(help="List or describe projects, or delete one and its content.", no_args_is_help=True)


@app.command("list")
def list_projects(ctx: typer.Context, api: Api = None, as_json: Json = False) -> None:
    """List the projects with their counts."""
    found = run_at(ctx, api, lambda parts: parts.projects().list(), index=False)
    if as_json:
        print_json({"items": [project._asdict() for project in found]})
    elif found:
        print_table(
            ("project", "sources", "extractions", "indexed", "created"),
            [(p.name, p.sources, p.extractions, p.indexed, f"{shown_moment(p.created_at)} UTC") for p in found],
        )
    else:
        note("No projects yet. `agent-storage ingest FILE --project NAME` creates one.")


@app.command()
def delete(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The project.")],
    yes: Yes = False,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Delete a project: its sources, its extractions and their vectors."""
    if not yes and not typer.confirm(f"Delete project {name!r} and everything in it?", err=True):
        fail("nothing was deleted")
    deleted = run_at(ctx, api, lambda parts: _delete(parts, name), near=near)
    if as_json:
        print_json({"project": name, **deleted_as_dict(deleted)})
    else:
        say(f"Deleted project {name}: {counted(deleted.extractions, 'extraction')}, and their vectors.")


@app.command()
def describe(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The project.")],
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Show a project's extraction types, and the fields of their data.

    Each field is shown with its kinds, examples, and the number of extractions that have it.
    """
    from app.cli.counting import print_description

    found = run_at(ctx, api, lambda parts: parts.fields().describe(name), index=False)
    print_description(name, found, as_json=as_json)


async def _delete(parts: "ServiceParts", name: str) -> "Deleted":
    from app.cli.index_jobs import run_queued
    from app.domain.jobs import JobType

    await parts.indexing().prepare()
    worker = parts.worker()
    await worker.recover()
    deleted = await parts.projects().delete(name)
    unfinished = "Deleted the project, but not all its vectors yet"
    await run_queued(worker, (JobType.DELETE_VECTORS,), unfinished, remote=is_remote(parts))
    return deleted
