"""``agent-storage jobs``: lists, retries, cancels, prunes and pauses background jobs."""

import re
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import Api, Json, context_of, run_at, usage_error
from app.cli.output import (
    console,
    counted,
    note,
    note_more,
    print_json,
    print_table,
    printable,
    say,
    shown_moment,
)
from app.domain.jobs import job_as_dict
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.cli.ports import ServiceParts
    from app.domain.ids import JobId
    from app.domain.jobs import JobFilters, JobRow

app = typer.Typer(help="List, retry, cancel, prune and pause background jobs.", no_args_is_help=True)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_MOST_S = 3_650 * _UNIT_S["d"]

Id = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
Type = Annotated[str, typer.Argument(metavar="TYPE", help="A job type, such as embed.")]


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Only this type; repeatable.")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="Only queued, running, cancelling, completed, failed or cancelled; repeatable.",
        ),
    ] = None,
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only jobs of this project.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 20,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    filters = _filters(type_ or (), status or (), project)
    # Ask for one more, to see whether there are more.
    found = run_at(ctx, api, lambda parts: parts.jobs().list(filters, limit=limit + 1), index=False)
    rows, more = found[:limit], len(found) > limit
    if as_json:
        print_json({"items": [job_as_dict(row) for row in rows], "more": more})
    elif rows:
        _print_rows(rows)
        note_more(limit, more=more)
    else:
        note("No jobs. Finished jobs are deleted after the time in the setting worker.keep_finished.")


@app.command()
def show(ctx: typer.Context, job_id: Id, api: Api = None, as_json: Json = False) -> None:
    """Show one job: its progress, attempts, result and error."""
    wanted = _job_id(job_id)
    _print_row(run_at(ctx, api, lambda parts: parts.jobs().get(wanted), index=False), as_json=as_json)


@app.command()
def retry(ctx: typer.Context, job_id: Id, api: Api = None, as_json: Json = False) -> None:
    """Queue a failed or cancelled job again, or skip the wait for a job's next attempt."""
    wanted = _job_id(job_id)
    row = run_at(ctx, api, lambda parts: parts.jobs().retry(wanted), index=False)
    if as_json:
        print_json(job_as_dict(row))
    else:
        say(f"Job {row.id} is {row.status}.")


@app.command()
def cancel(ctx: typer.Context, job_id: Id, api: Api = None, as_json: Json = False) -> None:
    """Cancel a job. A running job stops at its next batch; what it has done stays."""
    wanted = _job_id(job_id)
    row = run_at(ctx, api, lambda parts: parts.jobs().cancel(wanted), index=False)
    if as_json:
        print_json(job_as_dict(row))
    else:
        say(f"Job {row.id} is {row.status}.")


@app.command()
def prune(
    ctx: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Only jobs that ended longer ago, such as 90s, 30m, 12h or 7d. Default: worker.keep_finished.",
        ),
    ] = None,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Delete old finished jobs. What they stored or indexed stays."""
    older_than_s = None if older_than is None else _duration_s(older_than)
    if older_than_s is None:
        older_than_s = context_of(ctx).settings().worker.keep_finished
    pruned = run_at(ctx, api, lambda parts: parts.jobs().prune(older_than_s), index=False)
    if as_json:
        print_json({"pruned": pruned, "older_than_seconds": older_than_s})
    else:
        say(f"Deleted {counted(pruned, 'job')} that ended more than {_shown_duration(older_than_s)} ago.")


@app.command()
def pause(ctx: typer.Context, type_: Type, api: Api = None, as_json: Json = False) -> None:
    """Stop workers from beginning jobs of a type; running jobs continue."""
    paused = run_at(ctx, api, lambda parts: _pause(parts, _type(type_)), index=False)
    _print_paused(paused, as_json=as_json)


@app.command()
def resume(ctx: typer.Context, type_: Type, api: Api = None, as_json: Json = False) -> None:
    """Let workers begin jobs of a type again."""
    paused = run_at(ctx, api, lambda parts: _resume(parts, _type(type_)), index=False)
    _print_paused(paused, as_json=as_json)


async def _pause(parts: "ServiceParts", job_type: str) -> list[str]:
    await parts.jobs().pause(job_type)
    return await parts.jobs().paused()


async def _resume(parts: "ServiceParts", job_type: str) -> list[str]:
    await parts.jobs().resume(job_type)
    return await parts.jobs().paused()


def _filters(types: "Sequence[str]", statuses: "Sequence[str]", project: str | None) -> "JobFilters":
    from app.domain.ids import project_id_of
    from app.domain.jobs import JobFilters, JobStatus

    known = [status.value for status in JobStatus]
    for status in statuses:
        if status not in known:
            usage_error(f"--status {status!r} is unknown; choose from {', '.join(known)}")
    try:
        if project is not None:
            project_id_of(project)
    except InvalidInput as error:
        usage_error(f"--{error}")
    return JobFilters(types, [JobStatus(status) for status in statuses], project)


def _job_id(text: str) -> "JobId":
    from app.domain.ids import JobId

    try:
        return JobId(uuid.UUID(text))
    except ValueError:
        usage_error(f"{text!r} isn't a job's id; `agent-storage jobs list` shows the ids")


def _type(text: str) -> str:
    if not text.strip() or not text.isprintable():
        usage_error(f"{text!r} isn't a job type; it is blank or has control characters")
    return text


def _duration_s(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        usage_error(f"--older-than needs a number with s, m, h or d, such as 90s, 30m, 12h or 7d, not {text!r}")
    seconds = float(found[1]) * _UNIT_S[found[2]]
    if seconds > _MOST_S:
        usage_error(f"--older-than {text!r} is too long; at most ten years are allowed")
    return seconds


def _shown_duration(seconds: float) -> str:
    """Format a duration in the largest unit that divides it evenly."""
    unit = next((unit for unit in "dhm" if seconds and seconds % _UNIT_S[unit] == 0), "s")
    return f"{seconds / _UNIT_S[unit]:g} {'min' if unit == 'm' else unit}"


def _progress(row: "JobRow") -> str:
    if row.total is None:
        return f"{row.done:,}" if row.done else ""
    return f"{row.done:,}/{row.total:,}"


def _attempts(row: "JobRow") -> str:
    return f"{row.attempt} ({row.failures} failed)" if row.failures else str(row.attempt)


_COLUMNS = ("id", "type", "status", "progress", "attempts", "created (UTC)")
_FRAME = 3  # the width of a cell's border and padding
_SHORTEST_ERROR = 10


def _cells(row: "JobRow") -> tuple[str, ...]:
    created = shown_moment(row.created_at)
    return str(row.id), printable(row.type), row.status, _progress(row), _attempts(row), created


def _print_rows(rows: "Sequence[JobRow]") -> None:
    """Print a table in which only the error is truncated; a truncated id would be useless."""
    from rich.table import Table
    from rich.text import Text

    lines = [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *lines, strict=True)]
    screen = console()
    taken = sum(widths) + _FRAME * (len(widths) + 1) + 1
    left = max(_SHORTEST_ERROR, screen.width - taken)
    table = Table(width=None if taken + left <= screen.width else taken + left)
    for name, width in zip(_COLUMNS, widths, strict=True):
        table.add_column(name, no_wrap=True, min_width=width)
    table.add_column("error", no_wrap=True, overflow="ellipsis", max_width=left)
    for row, line in zip(rows, lines, strict=True):
        table.add_row(*map(Text, line), Text(printable(row.error or "")))
    screen.print(table, crop=False, no_wrap=True, overflow="ignore")


def _print_row(row: "JobRow", *, as_json: bool) -> None:
    if as_json:
        print_json(job_as_dict(row))
        return
    result = ", ".join(f"{name} {value}" for name, value in (row.result or {}).items())
    lines = (
        ("id", str(row.id)),
        ("type", row.type),
        ("status", row.status),
        ("priority", str(row.priority)),
        ("project", "" if row.project_id is None else str(row.project_id)),
        ("progress", _progress(row)),
        ("attempts", _attempts(row)),
        ("created", shown_moment(row.created_at, seconds=True)),
        ("scheduled for", shown_moment(row.run_at, seconds=True)),
        ("started", shown_moment(row.started_at, seconds=True)),
        ("ended", shown_moment(row.completed_at, seconds=True)),
        ("result", result),
        ("error", row.error or ""),
    )
    print_table(("", "job (times in UTC)"), lines, wide="job (times in UTC)")


def _print_paused(paused: "Sequence[str]", *, as_json: bool) -> None:
    if as_json:
        print_json({"paused": paused})
    else:
        say(f"Paused: {printable(', '.join(paused))}." if paused else "No job type is paused.")
