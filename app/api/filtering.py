"""Filters for extractions as query parameters, the same for every route."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query
from pydantic import Field

from app.api.schemas.values import Confidence, Labels, SourceUris
from app.domain.filters import Filters
from app.intake.where_text import parse_all


async def _wanted(  # noqa: PLR0913, PLR0917 - each is a parameter
    extraction_types: Annotated[Labels, Query(description="Repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    source_groups: Annotated[Labels, Query(description="Repeatable.")] = [],  # noqa: B006 - likewise
    source_uris: Annotated[SourceUris, Query(description="Repeatable.")] = [],  # noqa: B006 - likewise
    run_ids: Annotated[
        list[UUID],
        Field(max_length=100),
        Query(description="The id of a run that asserted an extraction first or last. Repeatable."),
    ] = [],  # noqa: B006 - likewise
    min_confidence: Confidence | None = None,
    max_confidence: Confidence | None = None,
    where: Annotated[
        list[str],
        Query(
            max_length=100,
            description="A condition on an extraction's data, metadata or own fields, such as "
            '`price.amount >= 100 and tags contains "indoor"`. Repeatable; all must hold.',
        ),
    ] = [],  # noqa: B006 - likewise
    indexed: Annotated[
        bool | None,
        Query(description="True: only those that search can find; false: only those without a vector."),
    ] = None,
    set_aside: Annotated[
        bool | None, Query(description="True: only those that can't be embedded; false: only the others.")
    ] = None,
) -> Filters:
    return Filters(
        source_groups=tuple(source_groups),
        extraction_types=tuple(extraction_types),
        source_uris=tuple(source_uris),
        run_ids=tuple(run_ids),
        min_confidence=min_confidence,
        max_confidence=max_confidence,
        where=parse_all(where),
        indexed=indexed,
        set_aside=set_aside,
    )


WantedExtractions = Annotated[Filters, Depends(_wanted)]
"""The filters in a request's query parameters; an extraction must match all of them."""
