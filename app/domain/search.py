"""A search and what it finds, as plain values."""

from dataclasses import dataclass

from app.domain.filters import ANY, Filters
from app.domain.rows import ExtractionRow

MAX_HITS = 1_000
"""How many hits one search may ask for."""

MAX_QUERY_CHARS = 10_000


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for, in words; in one project, or in all."""

    text: str
    project: str | None = None
    limit: int = 10
    filters: Filters = ANY


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One extraction as SQL has it, and its cosine similarity to the query, from -1 to 1."""

    score: float
    extraction: ExtractionRow


SearchHits = list[SearchHit]
