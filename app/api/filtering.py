"""Which extractions a request means, as query parameters: the same of every route that takes them."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query
from pydantic import Field

from app.api.schemas import Condition, Confidence, Labels, SourceUris
from app.domain.filters import Filters
from app.intake.conditions import with_conditions


async def _wanted(  # noqa: PLR0913, PLR0917 - each is a parameter
    type_: Annotated[Labels, Query(alias="type", description="Repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    group: Annotated[Labels, Query(description="Repeatable.")] = [],  # noqa: B006 - likewise
    source_uri: Annotated[SourceUris, Query(description="Repeatable.")] = [],  # noqa: B006 - likewise
    run: Annotated[
        list[UUID],
        Field(max_length=100),
        Query(description="The id of a run that asserted it first or last. Repeatable."),
    ] = [],  # noqa: B006 - likewise
    min_confidence: Confidence | None = None,
    max_confidence: Confidence | None = None,
    where: Annotated[
        list[Condition],
        Query(
            max_length=100,
            description="PATH=VALUE: what must stand there in `data`. Repeatable; all must hold.",
        ),
    ] = [],  # noqa: B006 - likewise
    indexed: Annotated[
        bool | None, Query(description="True: only what search can find; false: only what has no vector.")
    ] = None,
    set_aside: Annotated[
        bool | None, Query(description="True: only what can't be embedded; false: only the others.")
    ] = None,
) -> Filters:
    filters = Filters(
        source_groups=tuple(group),
        extraction_types=tuple(type_),
        source_uris=tuple(source_uri),
        run_ids=tuple(run),
        min_confidence=min_confidence,
        max_confidence=max_confidence,
        indexed=indexed,
        set_aside=set_aside,
    )
    return with_conditions(filters, where)


WantedExtractions = Annotated[Filters, Depends(_wanted)]
"""The extractions that pass all query parameters of filters that a request has."""
