"""``agent-storage search``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.context import Api, Json, context_of, run_at, usage_error
from app.cli.output import note, print_json, print_table
from app.domain.filters import Filters
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.cli.ports import ServiceParts
    from app.domain.search import Query, SearchHit


def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Only this project. Default: all.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many results.")] = 10,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Only sources of this group; repeatable.")
    ] = None,
    source_uri: Annotated[
        list[str] | None, typer.Option("--source-uri", metavar="URI", help="Only of this source; repeatable.")
    ] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Only this type; repeatable.")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only this confidence or more.")
    ] = None,
    max_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only this confidence or less.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH=VALUE",
            help="Only where `data` has this value, e.g. --where term=dog --where 'meta.page=3'. A value that "
            "reads as JSON is taken as such; quote a number to mean its text. Repeatable; all must hold.",
        ),
    ] = None,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Find extractions by meaning, and by filter."""
    from app.domain.search import Query

    filters = Filters(
        source_groups=tuple(group or ()),
        extraction_types=tuple(type_ or ()),
        source_uris=tuple(source_uri or ()),
        min_confidence=min_confidence,
        max_confidence=max_confidence,
    )
    wanted = Query(
        text=query,
        project=project,
        limit=limit,
        filters=_with_conditions(filters, where or ()),
    )
    fields = context_of(ctx).settings().embedding.text_fields
    found = run_at(ctx, api, lambda parts: _search(parts, wanted))
    if as_json:
        print_json([_as_dict(result) for result in found])
    elif found:
        _print(found, fields)
    else:
        note("Nothing found. Fewer filters may help; `agent-storage projects list` shows what is stored.")


async def _search(parts: "ServiceParts", wanted: "Query") -> "list[SearchHit]":
    await parts.indexing().prepare()
    return await parts.search().search(wanted)


def _with_conditions(filters: Filters, where: "Sequence[str]") -> Filters:
    from app.intake.conditions import with_conditions

    try:
        return with_conditions(filters, where)
    except InvalidInput as error:
        usage_error(f"--{error}")


def _print(found: "list[SearchHit]", fields: tuple[str, ...]) -> None:
    from app.domain.text import text_of

    def shown(result: "SearchHit") -> str:
        try:
            return text_of(result.extraction.data, fields)
        except InvalidInput:  # stored under other text fields than today's
            return str(result.extraction.data)

    print_table(
        ("score", "text", "type", "group", "source"),
        [
            (
                result.score,
                shown(result),
                result.extraction.extraction_type,
                result.extraction.source_group,
                result.extraction.source_uri,
            )
            for result in found
        ],
    )


def _as_dict(result: "SearchHit") -> dict[str, Any]:
    row = result.extraction
    return {
        "id": str(row.id),
        "score": result.score,
        "project_id": str(row.project_id),
        "source_uri": row.source_uri,
        "source_group": row.source_group,
        "extraction_type": row.extraction_type,
        "confidence": row.confidence,
        "metadata": row.metadata,
        "data": row.data,
    }
