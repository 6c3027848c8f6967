"""``agent-storage history``: shows the changes of a source or an extraction."""

import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import DEFAULT_PROJECT, Api, InProject, Json, context_of, run_at
from app.errors import NotFound

if TYPE_CHECKING:
    from app.cli.changes import NamedHistory
    from app.cli.ports import ServiceParts
    from app.domain.changes import History


def history(
    ctx: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="URI_OR_ID", help="A source's URI or id, or an extraction's id.")
    ],
    project: InProject = DEFAULT_PROJECT,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many changes.")] = 100,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Show the changes of a source and its extractions, or of one extraction, even if deleted.

    The newest change comes first.
    """
    from app.cli.changes import print_changes

    named = run_at(
        ctx, api, lambda parts: _named_history(parts, project, subject, limit, as_json=as_json), index=False
    )
    print_changes(named, limit, context_of(ctx).text_rules(), as_json=as_json)


async def _named_history(
    parts: "ServiceParts", project: str, subject: str, limit: int, *, as_json: bool
) -> "NamedHistory":
    from app.cli.changes import NamedHistory

    found = await _history(parts, project, subject, limit)
    return NamedHistory(found) if as_json else await NamedHistory.with_runs(parts, project, found)


async def _history(parts: "ServiceParts", project: str, subject: str, limit: int) -> "History":
    """Look up an id among sources, then among extractions, and at last as a source's URI."""
    from app.cli.naming import named, source_id_at, source_id_in, unless_missing
    from app.domain.ids import ExtractionId

    changes = parts.changes()
    by_uri = source_id_at(project, subject)
    by_id = source_id_in(subject)
    if by_id is None:
        return await named(by_uri, "source", subject, lambda: changes.of_source(project, by_uri, limit=limit))
    extraction_id = ExtractionId(uuid.UUID(subject))
    found = (
        await unless_missing(lambda: changes.of_source(project, by_id, limit=limit))
        or await unless_missing(lambda: changes.of_extraction(extraction_id, limit=limit))
        or await unless_missing(lambda: changes.of_source(project, by_uri, limit=limit))
    )
    if found is None:
        raise NotFound("source or extraction", subject)
    return found
