"""``agent-storage extractions``: lists, shows, counts, deletes and retries extractions."""

import uuid
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import (
    DEFAULT_PROJECT,
    Api,
    InProject,
    Json,
    Near,
    Yes,
    context_of,
    run_at,
    to_paste,
    usage_error,
)
from app.cli.extraction_rows import ShownRows, print_whole
from app.cli.filtering import WantedExtractions, takes_filters, warn
from app.cli.output import JsonItems, counted, fail, note, note_more, print_json, printable, progress, say
from app.cli.stores import is_remote
from app.domain.documents import deleted_as_dict, extraction_as_dict
from app.domain.outcomes import Deleted

if TYPE_CHECKING:
    from app.cli.ports import FinishedJob, ServiceParts
    from app.domain.fields import Facets
    from app.domain.ordering import Order
    from app.domain.rows import ExtractionRow

app = typer.Typer(
    help="List, show, count or delete extractions, or retry those set aside.", no_args_is_help=True
)

_DEFAULT_LIMIT = 100

Ids = Annotated[
    list[uuid.UUID] | None,
    typer.Argument(metavar="ID", help="Ids of extractions, instead of filters.", show_default=False),
]


@app.command("list")
@takes_filters
def list_extractions(
    ctx: typer.Context,
    *,
    project: InProject = DEFAULT_PROJECT,
    wanted: WantedExtractions,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = _DEFAULT_LIMIT,
    sort: Annotated[
        str,
        typer.Option(
            metavar="FIELD",
            help="created, changed, confidence, or a path such as price.amount; a leading minus sorts descending.",
        ),
    ] = "-created",
    api: Api = None,
    as_json: Json = False,
) -> None:
    """List a project's extractions, newest first."""
    from app.errors import InvalidInput
    from app.intake.where_text import parse_order

    try:
        order = parse_order(sort)
    except InvalidInput as error:
        usage_error(f"--{error}")
    shown = ShownRows(context_of(ctx).text_rules(), JsonItems() if as_json else None)
    run_at(ctx, api, lambda parts: _list(parts, project, wanted, limit, order, shown), index=False)


@app.command()
def show(
    ctx: typer.Context,
    extraction: Annotated[uuid.UUID, typer.Argument(metavar="ID", help="The extraction's id.")],
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Show one extraction completely, of any project."""
    row = run_at(ctx, api, lambda parts: _get(parts, extraction), index=False)
    if as_json:
        print_json(extraction_as_dict(row))
    else:
        print_whole(row)


@app.command()
@takes_filters
def count(
    ctx: typer.Context,
    *,
    project: InProject = DEFAULT_PROJECT,
    wanted: WantedExtractions,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Count by this: type, group, source, run, day, or a path such as price.amount or metadata.page; repeatable.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many values of each --by; the rest is totaled.")
    ] = 10,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Count a project's extractions, in total or by their fields."""
    if by:
        from app.cli.counting import print_facets

        counts = run_at(ctx, api, lambda parts: _count_by(parts, project, wanted, by, limit), index=False)
        print_facets(project, counts, as_json=as_json)
        return
    found, warnings = run_at(ctx, api, lambda parts: _count(parts, project, wanted), index=False)
    if as_json:
        print_json({"project": project, "count": found, "warnings": warnings})
    else:
        say(f"{found:,}")


@app.command()
@takes_filters
def delete(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    project: InProject = DEFAULT_PROJECT,
    wanted: WantedExtractions,
    everything: Annotated[bool, typer.Option("--all", help="All extractions of the project.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report how many would be deleted, and delete nothing.")
    ] = False,
    yes: Yes = False,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Delete extractions and their vectors, by ids or by filters."""
    if bool(ids) + (not wanted.is_all) + everything != 1:
        usage_error("give exactly one of ids, filters and --all, to say what to delete")
    if dry_run and ids:
        usage_error("--dry-run is only for filters and --all; ids already name what would be deleted")
    if dry_run:
        would, warnings = run_at(ctx, api, lambda parts: _count(parts, project, wanted), index=False)
        if as_json:
            would_delete = deleted_as_dict(Deleted(would, []), dry_run=True, warnings=warnings)
            print_json({"project": project, **would_delete})
        else:
            say(f"Would delete {counted(would, 'extraction')} of project {printable(project)}.")
        return
    if not yes:
        many = (
            len(set(ids))
            if ids
            else run_at(ctx, api, lambda parts: _count(parts, project, wanted), index=False)[0]
        )
        told = f"Delete {counted(many, 'extraction')} of project {printable(project)!r}?"
        if many and not typer.confirm(told, err=True):
            fail("nothing was deleted")
    deleted, warnings = run_at(
        ctx, api, lambda parts: _delete(parts, project, ids, wanted, asked=not yes), near=near
    )
    if as_json:
        print_json({"project": project, **deleted_as_dict(deleted, warnings=warnings)})
    elif deleted.extractions:
        say(f"Deleted {counted(deleted.extractions, 'extraction')}, and their vectors.")
    else:
        note(f"No such extractions in project {printable(project)}; nothing was deleted.")
    if ids and (missing := len(set(ids)) - deleted.extractions):
        fail(f"project {printable(project)} has no extractions with {missing:,} of these {len(set(ids)):,} ids")


@app.command()
@takes_filters
def retry(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    project: InProject = DEFAULT_PROJECT,
    wanted: WantedExtractions,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Retry embedding extractions that were set aside, by ids or by filters."""
    from app.cli.trying_again import try_again

    if ids and not wanted.is_all:
        usage_error("give ids or filters, not both")
    report = run_at(ctx, api, lambda parts: try_again(parts, project, ids, wanted), near=near)
    if as_json:
        print_json(report.as_dict(project))
    else:
        report.print(project, to_paste(ctx, api, "extractions", "list", "--project", project, "--set-aside"))


async def _list(
    parts: "ServiceParts",
    project: str,
    wanted: WantedExtractions,
    limit: int,
    order: "Order",
    shown: ShownRows,
) -> None:
    """Print page by page, so that any number can be listed.

    One row more than asked for is read, to see whether there are more.
    """
    filters = await wanted.of_project(parts, project)
    printed, more = 0, False
    async for rows in parts.extractions().iter_pages(project, filters, limit=limit + 1, order=order):
        page = rows[: limit - printed]
        if page:
            # On a thread, so that Ctrl-C works while a reader such as `less` blocks the output.
            await parts.files_lane().run(shown.print, page)
        printed += len(page)
        more = len(page) < len(rows)
        note_more(limit, more=more)
    if not printed:
        note(f"No such extractions in project {printable(project)}.")
    warnings = await warn(parts, project, filters, order)
    if shown.document is not None:
        shown.document.end(more=more, warnings=warnings)


async def _get(parts: "ServiceParts", extraction: uuid.UUID) -> "ExtractionRow":
    from app.domain.ids import ExtractionId

    return await parts.extractions().get(ExtractionId(extraction))


async def _count(parts: "ServiceParts", project: str, wanted: WantedExtractions) -> tuple[int, tuple[str, ...]]:
    filters = await wanted.of_project(parts, project)
    warnings = await warn(parts, project, filters)
    return await parts.extractions().count(project, filters), warnings


async def _count_by(
    parts: "ServiceParts", project: str, wanted: WantedExtractions, by: list[str], limit: int
) -> "Facets":
    filters = await wanted.of_project(parts, project)
    found = await parts.fields().count_by(project, by, filters, limit=limit)
    for warning in found.warnings:
        note(f"Warning: {warning}")
    return found


async def _delete(
    parts: "ServiceParts",
    project: str,
    ids: list[uuid.UUID] | None,
    wanted: WantedExtractions,
    *,
    asked: bool,
) -> "tuple[Deleted, tuple[str, ...]]":
    warnings: tuple[str, ...] = ()
    from app.cli.index_jobs import run_queued
    from app.domain.ids import ExtractionId
    from app.domain.jobs import JobType

    await parts.indexing().prepare()
    worker = parts.worker()
    await worker.recover()
    if ids:
        deleted = await parts.extractions().delete_batch(project, [ExtractionId(each) for each in ids])
    else:
        filters = await wanted.of_project(parts, project)
        warnings = await (parts.fields().warnings if asked else partial(warn, parts))(project, filters)
        deleted = await parts.extractions().delete_matching(project, filters)
    unfinished = f"Deleted {counted(deleted.extractions, 'extraction')}, but not all their vectors yet"
    with progress() as display:
        bar = display.add_task("vectors deleted", total=deleted.extractions)

        def ended(job: "FinishedJob") -> None:
            display.advance(bar, (job.result or {}).get("deleted", 0))

        await run_queued(worker, (JobType.DELETE_VECTORS,), unfinished, remote=is_remote(parts), ended=ended)
    return deleted, warnings
