"""``agent-storage sources``: lists, shows, deletes and prunes the sources of extractions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import DEFAULT_PROJECT, Api, InProject, Json, Near, Yes, run_at, usage_error
from app.cli.output import (
    counted,
    fail,
    note,
    note_more,
    print_json,
    print_table,
    printable,
    say,
    shown_moment,
)
from app.cli.stores import is_remote
from app.domain.documents import deleted_as_dict, source_as_dict
from app.errors import InvalidInput

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts
    from app.domain.outcomes import Deleted
    from app.domain.rows import SourceRow, SourceRows
    from app.domain.sources import SourceFilters

app = typer.Typer(help="List, show, delete or prune the sources of extractions.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(metavar="URI_OR_ID", help="The source's URI, or its id.")]


@app.command("list")
def list_sources(
    ctx: typer.Context,
    project: InProject = DEFAULT_PROJECT,
    source_group: Annotated[
        list[str] | None, typer.Option("--source-group", help="Only sources of this group; repeatable.")
    ] = None,
    uri_prefix: Annotated[
        str | None, typer.Option("--uri-prefix", metavar="PREFIX", help="Only sources with this URI prefix.")
    ] = None,
    gone: Annotated[
        bool | None, typer.Option("--gone/--not-gone", help="Only sources without, or with, extractions.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")] = 100,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """List a project's sources."""
    filters = _filters(source_group or (), uri_prefix, gone=gone)
    # Ask for one more, to see whether there are more.
    found = run_at(ctx, api, lambda parts: parts.sources().list(project, filters, limit=limit + 1), index=False)
    rows, more = found[:limit], len(found) > limit
    if as_json:
        print_json({"items": [source_as_dict(row) for row in rows], "more": more})
    elif rows:
        _print_rows(rows)
        note_more(limit, more=more)
    else:
        note(f"No such sources in project {project}.")


@app.command()
def show(
    ctx: typer.Context,
    source: Source,
    project: InProject = DEFAULT_PROJECT,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Show one source: its group, how many extractions it has, and when it was observed."""
    row = run_at(ctx, api, lambda parts: _find(parts, project, source), index=False)
    if as_json:
        print_json(source_as_dict(row))
        return
    lines = (
        ("uri", row.uri),
        ("id", str(row.id)),
        ("group", row.group),
        ("extractions", f"{row.extractions:,}"),
        ("gone", not row.extractions),
        ("first stored", shown_moment(row.created_at)),
        ("observed", shown_moment(row.observed_at)),
    )
    print_table(("", "source (times in UTC)"), lines, wide="source (times in UTC)")


@app.command()
def delete(
    ctx: typer.Context,
    source: Source,
    project: InProject = DEFAULT_PROJECT,
    yes: Yes = False,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Delete a source with its extractions and their vectors."""
    told = f"Delete source {printable(source)!r} of project {project!r} and its extractions?"
    if not yes and not typer.confirm(told, err=True):
        fail("nothing was deleted")
    row, deleted = run_at(ctx, api, lambda parts: _delete(parts, project, source), near=near)
    if as_json:
        print_json({"source_id": row.id, "source_uri": row.uri, **deleted_as_dict(deleted)})
    else:
        what = counted(deleted.extractions, "extraction")
        say(f"Deleted source {printable(row.uri)}: {what}, and their vectors.")


@app.command()
def prune(
    ctx: typer.Context,
    project: InProject = DEFAULT_PROJECT,
    yes: Yes = False,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Delete the sources that have no extractions. Their history stays."""
    told = f"Delete the sources of project {project!r} that have no extractions?"
    if not yes and not typer.confirm(told, err=True):
        fail("nothing was deleted")
    pruned = run_at(ctx, api, lambda parts: parts.sources().prune(project), index=False)
    if as_json:
        print_json({"project": project, "pruned": pruned})
    else:
        say(f"Deleted {counted(pruned, 'source')} without extractions.")


async def _find(parts: "ServiceParts", project: str, source: str) -> "SourceRow":
    from app.cli.naming import find_source

    return await find_source(parts, project, source)


async def _delete(parts: "ServiceParts", project: str, source: str) -> "tuple[SourceRow, Deleted]":
    from app.cli.index_jobs import run_queued
    from app.domain.jobs import JobType

    await parts.indexing().prepare()
    worker = parts.worker()
    await worker.recover()
    row = await _find(parts, project, source)
    deleted = await parts.sources().delete(project, row.id)
    unfinished = "Deleted the source, but not all its vectors yet"
    await run_queued(worker, (JobType.DELETE_VECTORS,), unfinished, remote=is_remote(parts))
    return row, deleted


def _filters(groups: Sequence[str], uri_prefix: str | None, *, gone: bool | None) -> "SourceFilters":
    from app.domain.items import MAX_URI_CHARS, parse_label
    from app.domain.sources import SourceFilters

    try:
        return SourceFilters(
            tuple(parse_label(group, "source-group") for group in groups),
            None if uri_prefix is None else parse_label(uri_prefix, "uri-prefix", MAX_URI_CHARS),
            gone,
        )
    except InvalidInput as error:
        usage_error(f"--{error}")


def _print_rows(rows: "SourceRows") -> None:
    print_table(
        ("source", "group", "extractions", "observed (UTC)"),
        [(row.uri, row.group, row.extractions, shown_moment(row.observed_at)) for row in rows],
        wide="source",
    )
