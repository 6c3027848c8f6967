"""``agent-storage search``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.context import Api, Json, Near, context_of, run_at, usage_error
from app.cli.filtering import WantedExtractions, takes_filters_of_indexed
from app.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts
    from app.domain.search import Query, SearchHit


@takes_filters_of_indexed
def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="What to look for, in words.")],
    *,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Only this project. Default: all.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many results.")] = 10,
    wanted: WantedExtractions,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Find extractions by meaning, and by filter."""
    from app.domain.search import Query

    if wanted.runs and project is None:
        usage_error("--run names a run of a project; give --project too")
    asked = Query(query, project, limit)
    fields = context_of(ctx).settings().embedding.text_fields
    found = run_at(ctx, api, lambda parts: _search(parts, asked, wanted), near=near)
    if as_json:
        print_json([_as_dict(result) for result in found])
    elif found:
        _print(found, fields)
    else:
        note("Nothing found. Fewer filters may help; `agent-storage projects list` shows what is stored.")


async def _search(parts: "ServiceParts", asked: "Query", wanted: WantedExtractions) -> "list[SearchHit]":
    await parts.indexing().prepare()
    filters = wanted.filters if asked.project is None else await wanted.of_project(parts, asked.project)
    return await parts.search().search(replace(asked, filters=filters))


def _print(found: "list[SearchHit]", fields: tuple[str, ...]) -> None:
    from app.cli.extraction_rows import shown_text

    print_table(
        ("score", "text", "type", "group", "source"),
        [
            (
                result.score,
                shown_text(result.extraction, fields),
                result.extraction.extraction_type,
                result.extraction.source_group,
                result.extraction.source_uri,
            )
            for result in found
        ],
        whole=("source",),
    )


def _as_dict(result: "SearchHit") -> dict[str, Any]:
    row = result.extraction
    return {
        "id": str(row.id),
        "score": result.score,
        "project_id": str(row.project_id),
        "project": row.project,
        "source_uri": row.source_uri,
        "source_group": row.source_group,
        "extraction_type": row.extraction_type,
        "confidence": row.confidence,
        "metadata": row.metadata,
        "data": row.data,
    }
