"""Searches and their hits."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from app.api.schemas.extractions import Extraction
from app.api.schemas.filters import Filters
from app.api.schemas.values import Warnings
from app.domain.search import MAX_HITS, MAX_QUERY_CHARS, Query, SearchMode


class SearchQuery(Filters):
    """A search: the query's text, and filters that hits must match."""

    query: str = Field(min_length=1, max_length=MAX_QUERY_CHARS)
    limit: int = Field(default=10, ge=1, le=MAX_HITS)
    mode: Annotated[SearchMode, Field(strict=False)] = Field(
        default=SearchMode.AUTO, description="Search by meaning, by words, or by both with combined scores."
    )
    offset: int = Field(
        default=0,
        ge=0,
        lt=MAX_HITS,
        description="How many hits to skip; `offset` and `limit` together are at most 1,000.",
    )
    min_score: float | None = Field(default=None, allow_inf_nan=False, description="The lowest score of a hit.")
    collapse: bool = Field(
        default=False, description="Merge facts with the same type and data from several sources into one hit."
    )

    def as_query(self, project: str | None) -> Query:
        """Make the service's query, in one project or, with None, in all."""
        return Query(
            self.query,
            project,
            self.limit,
            self.for_service(),
            self.mode,
            self.offset,
            self.min_score,
            self.collapse,
        )


class RankedSide(BaseModel):
    """The extraction's rank in the results of one search (by meaning or by words), and its score.

    Ranks count from 1.
    """

    rank: int
    score: float


class TwinOfHit(BaseModel):
    """Another extraction with the same type and data, and its source."""

    id: UUID
    source_uri: str


class Hit(BaseModel):
    """A result of a search, and why it was found.

    `score` is from 0 to 1; with mode `meaning` it is the cosine similarity, from -1 to 1.
    `words.score` is a share of the best score that the query's words allow. `highlights` maps paths
    in `data` to the places of the query's words: pairs of start and end, in characters (code
    points).
    """

    score: float
    meaning: RankedSide | None
    words: RankedSide | None
    terms: list[str]
    highlights: dict[str, list[tuple[int, int]]]
    twins: list[TwinOfHit]
    extraction: Extraction


class Hits(BaseModel):
    """The best matches, best first.

    `degraded` says what the answer lacks, such as the search by words or the search by meaning.
    """

    items: list[Hit]
    more: bool = Field(description="Whether there is a next page: the same search with a larger `offset`.")
    degraded: list[str]
    warnings: Warnings
