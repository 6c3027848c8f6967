"""``agent-storage runs``: shows what each run of a pipeline changed, and undoes runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import DEFAULT_PROJECT, Api, InProject, Json, Near, Yes, context_of, run_at, to_paste
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
from app.cli.request_run import undo_hint
from app.cli.stores import is_remote
from app.domain.documents import run_as_dict, undone_as_dict

if TYPE_CHECKING:
    from app.cli.changes import NamedHistory
    from app.cli.ports import ServiceParts
    from app.domain.outcomes import Undone
    from app.domain.rows import RunRow, RunRows

app = typer.Typer(help="List the runs of pipelines, show what one changed, or undo it.", no_args_is_help=True)

_MOST_SHOWN = 20
_RECENT = 1_000
"""How many runs are examined for the same name: an interrupted command run again has two."""

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id or name; of a name, the newest run.")]


@app.command("list")
def list_runs(
    ctx: typer.Context,
    project: InProject = DEFAULT_PROJECT,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")] = 20,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """List a project's runs, newest first."""
    # Ask for one more, to see whether there are more.
    found = run_at(ctx, api, lambda parts: parts.runs().list(project, limit=limit + 1), index=False)
    rows, more = found[:limit], len(found) > limit
    if as_json:
        print_json({"items": [run_as_dict(row) for row in rows], "more": more})
    elif rows:
        _print_rows(rows)
        note_more(limit, more=more)
    else:
        hint = to_paste(ctx, api, "ingest", "FILE", "--project", project, "--run", "NAME")
        note(f"No runs in project {project}. {hint} creates one.")


@app.command()
def show(
    ctx: typer.Context,
    run: Run,
    project: InProject = DEFAULT_PROJECT,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Show one run: its times, its metadata, and how many extractions it changed."""
    row = run_at(ctx, api, lambda parts: _get(parts, project, run), index=False)
    if as_json:
        print_json(run_as_dict(row))
        return
    lines = (
        ("name", row.name),
        ("id", str(row.id)),
        ("begun", shown_moment(row.begun_at)),
        ("ended", shown_moment(row.ended_at) or "not yet"),
        ("undoes", "" if row.undoes is None else str(row.undoes)),
        *((f"metadata {name}", _value(value)) for name, value in (row.metadata or {}).items()),
        ("added", f"{row.added:,}"),
        ("changed", f"{row.changed:,}"),
        ("unchanged", f"{row.unchanged:,}"),
        ("removed", f"{row.removed:,}"),
    )
    print_table(("", "run (times in UTC)"), lines, wide="run (times in UTC)")


@app.command()
def diff(
    ctx: typer.Context,
    run: Run,
    project: InProject = DEFAULT_PROJECT,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many changes.")] = 100,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Show what a run added, changed and removed, newest first."""
    from app.cli.changes import print_changes

    named = run_at(ctx, api, lambda parts: _diff(parts, project, run, limit, as_json=as_json), index=False)
    print_changes(named, limit, context_of(ctx).text_rules(), as_json=as_json)


@app.command()
def undo(
    ctx: typer.Context,
    run: Run,
    project: InProject = DEFAULT_PROJECT,
    yes: Yes = False,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Revert the changes of a run, except where later changes were made.

    The undo is itself a run, and can be undone.
    """
    question = f"Undo what run {printable(run)!r} changed in project {project!r}?"
    if not yes and not typer.confirm(question, err=True):
        fail("nothing was undone")
    undone, namesakes = run_at(ctx, api, lambda parts: _undo(parts, project, run), near=near)
    if as_json:
        print_json(undone_as_dict(undone))
    else:
        _print_undone(run, undone, undo_hint(ctx, api, project, undone.undo_run_id))
    for each in namesakes:
        note(f"Another run is named {printable(run)}: {undo_hint(ctx, api, project, each.id)} undoes it.")


async def _get(parts: "ServiceParts", project: str, run: str) -> "RunRow":
    from app.domain.items import parse_label

    return await parts.runs().get(project, parse_label(run, "run"))


async def _diff(parts: "ServiceParts", project: str, run: str, limit: int, *, as_json: bool) -> "NamedHistory":
    from app.cli.changes import NamedHistory

    row = await _get(parts, project, run)
    history = await parts.changes().of_run(project, row.id, limit=limit)
    return NamedHistory(history) if as_json else await NamedHistory.with_sources(parts, project, history)


async def _undo(parts: "ServiceParts", project: str, run: str) -> "tuple[Undone, list[RunRow]]":
    """Undo a run; also return the other recent runs of that name that aren't undone."""
    from app.cli.index_jobs import run_queued
    from app.domain.jobs import INDEX_JOBS

    await parts.indexing().prepare()
    worker = parts.worker()
    await worker.recover()
    row = await _get(parts, project, run)
    undone = await parts.runs().undo(project, str(row.id))
    await run_queued(
        worker, INDEX_JOBS, "Undid the run, but the index isn't updated yet", remote=is_remote(parts)
    )
    recent = await parts.runs().list(project, limit=_RECENT)
    gone = {row.id, *(each.undoes for each in recent)}
    return undone, [each for each in recent if each.name == run and each.id not in gone]


def _print_rows(rows: "RunRows") -> None:
    print_table(
        ("run", "begun (UTC)", "added", "changed", "removed"),
        [
            ((row.name, str(row.id)), shown_moment(row.begun_at), row.added, row.changed, row.removed)
            for row in rows
        ],
        wide="run",
        whole=("begun (UTC)",),
    )


def _print_undone(run: str, undone: "Undone", hint: str) -> None:
    counts = undone.counts
    if undone.already:
        say(f"Run {printable(run)} is already undone; nothing was changed.")
    else:
        say(
            f"Undid run {printable(run)}: restored {counted(counts.added, 'extraction')}, changed back "
            f"{counts.changed:,}, removed {counts.removed:,}."
        )
    left = undone.left_alone
    count = len(left) + undone.more_left_alone
    if left:
        say(f"Left {count:,} alone, because they were changed after that run:")
        print_table(
            ("what", "id", "source's id"),
            [
                ("group", "", str(each.source_id))
                if each.extraction_id is None
                else ("extraction", str(each.extraction_id), str(each.source_id))
                for each in left[:_MOST_SHOWN]
            ],
            whole=("id", "source's id"),
        )
    if count > _MOST_SHOWN:
        say(
            f"And {count - _MOST_SHOWN:,} more; --json shows {'the first ' if undone.more_left_alone else ''}{len(left):,}."
        )
    say(f"The undo is run {undone.undo_run_id}; {hint} reverts it.")


def _value(value: object) -> str:
    import orjson

    return value if isinstance(value, str) else orjson.dumps(value).decode()
