"""``agent-storage search``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import Api, Json, Near, context_of, run_at, usage_error
from app.cli.filtering import WantedExtractions, takes_filters_of_indexed
from app.cli.output import note, print_json, print_table, printable
from app.domain.documents import hit_as_dict
from app.domain.search import MAX_HITS, SearchMode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

    from app.cli.context import CliContext
    from app.cli.ports import ServiceParts
    from app.domain.search import Query, SearchHit, SearchHits
    from app.domain.text import TextRules

_SHOWN_SOURCES = 3


@takes_filters_of_indexed
def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="The text to search for.")],
    *,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Only this project. Default: all.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_HITS, help="How many results.")] = 10,
    offset: Annotated[
        int, typer.Option("--offset", min=0, max=MAX_HITS - 1, help="How many results to skip.")
    ] = 0,
    mode: Annotated[
        SearchMode, typer.Option("--mode", "-m", help="By meaning, by words, or by both (auto).")
    ] = SearchMode.AUTO,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", help="Only results with this score or more: from 0 to 1, by meaning alone from -1."
        ),
    ] = None,
    collapse: Annotated[
        bool,
        typer.Option(help="Merge results with the same type and data from several sources."),
    ] = True,
    wanted: WantedExtractions,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Find extractions by meaning, by words and by filters."""
    from app.domain.search import Query

    if wanted.runs and project is None:
        usage_error("--run requires --project, because runs belong to projects")
    asked = Query(query, project, limit, mode=mode, offset=offset, min_score=min_score, collapse=collapse)
    rules = context_of(ctx).text_rules()
    found = run_at(ctx, api, lambda parts: _search(parts, asked, wanted), near=near)
    for lack in found.degraded:
        note(f"Incomplete: {lack}")
    _note_absent_qdrant(context_of(ctx), api, found.degraded)
    for warning in found.warnings:
        note(f"Warning: {warning}")
    if as_json:
        hits = [hit_as_dict(hit) for hit in found]
        print_json({"items": hits, "more": found.more, "degraded": found.degraded, "warnings": found.warnings})
    elif found:
        _print(found, rules)
        if found.more and offset + limit < MAX_HITS:
            note(f"There are more results: --offset {offset + limit}")
        elif found.more:
            note(f"There are more than the {MAX_HITS:,} results that a search returns; narrow it by filters.")
    else:
        note(_nothing_found(asked, wanted, incomplete=bool(found.degraded)))


def _nothing_found(asked: "Query", wanted: WantedExtractions, *, incomplete: bool) -> str:
    if incomplete:
        return "Nothing found, but the search was incomplete."
    narrowed = not wanted.is_all or asked.min_score is not None
    where = "" if asked.project is None else f" in project {printable(asked.project)}"
    ways = "Fewer filters may help; " if narrowed else ""
    return f"Nothing found{where}. {ways}`agent-storage projects list` shows what is stored."


def _note_absent_qdrant(context: "CliContext", api: str | None, degraded: "Iterable[str]") -> None:
    """Say what to check if this command's Qdrant server gave no answer."""
    from app.cli.hints import hint_for

    settings = context.settings()
    if api is None and settings.qdrant.mode == "server" and any("Qdrant" in lack for lack in degraded):
        note(f"Qdrant: {hint_for('qdrant', settings)}")


async def _search(parts: "ServiceParts", asked: "Query", wanted: WantedExtractions) -> "SearchHits":
    if asked.mode is SearchMode.MEANING:
        await parts.indexing().prepare()
    filters = wanted.filters if asked.project is None else await wanted.of_project(parts, asked.project)
    return await parts.search().search(replace(asked, filters=filters))


def _print(found: "SearchHits", rules: "TextRules") -> None:
    print_table(
        ("score", "text", "type", "group", "source"),
        [
            (
                result.score,
                _text(result, rules),
                result.extraction.extraction_type,
                result.extraction.source_group,
                _sources(result),
            )
            for result in found
        ],
        whole=("source",),
    )


def _text(result: "SearchHit", rules: "TextRules") -> "Text":
    """The text of a hit, with the query's words in bold."""
    from rich.text import Text

    from app.cli.extraction_rows import shown_text
    from app.words.highlights import spans_in

    shown = shown_text(result.extraction.extraction_type, result.extraction.data, rules)
    text = Text(printable(shown))
    for start, end in spans_in(shown, result.terms):
        text.stylize("bold", start, end)
    return text


def _sources(result: "SearchHit") -> tuple[str, ...]:
    uris = list(dict.fromkeys((result.extraction.source_uri, *(twin.source_uri for twin in result.twins))))
    more = len(uris) - _SHOWN_SOURCES
    return (*uris[:_SHOWN_SOURCES], f"and {more:,} more") if more > 0 else tuple(uris)
