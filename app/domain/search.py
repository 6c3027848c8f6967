"""A search and what it finds, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import overload

from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId
from app.domain.rows import ExtractionRow

MAX_HITS = 1_000
"""How many hits one search may ask for, those that it passes over included."""

MAX_QUERY_CHARS = 10_000


class SearchMode(StrEnum):
    """By what a search finds."""

    AUTO = "auto"
    """By meaning and by words, their scores put together."""
    MEANING = "meaning"
    WORDS = "words"


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for, in words; in one project, or in all.

    The first ``offset`` hits are passed over. Hits that score less than ``min_score`` aren't given.
    ``collapse`` makes one hit of facts with the same type and data that were taken from several
    sources.
    """

    text: str
    project: str | None = None
    limit: int = 10
    filters: Filters = ANY
    mode: SearchMode = SearchMode.AUTO
    offset: int = 0
    min_score: float | None = None
    collapse: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """Where an extraction stands in what one side found, counted from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Twin:
    """Another extraction of the same type and data, and where it was taken from."""

    id: ExtractionId
    source_uri: str


Span = tuple[int, int]
"""Where a match begins in a text and where it ends, in characters (code points)."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One extraction as SQL has it, and why it was found.

    ``score`` is from 0 to 1 by words and by both; by meaning alone it is the cosine similarity,
    from -1 to 1, as ``meaning`` has it. ``words`` has the share of the best score that the query's
    words allow. ``terms`` are the words of the query that the extraction has, ``highlights`` where
    they stand, by the path in ``data``.
    """

    score: float
    extraction: ExtractionRow
    meaning: Ranked | None = None
    words: Ranked | None = None
    terms: tuple[str, ...] = ()
    highlights: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    twins: tuple[Twin, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchHits(Sequence[SearchHit]):
    """What was found, best first. ``degraded`` says what it lacks, such as one of the two sides; empty: nothing.

    ``warnings`` say what is odd about the query's filters.
    """

    hits: tuple[SearchHit, ...] = ()
    degraded: tuple[str, ...] = ()
    more: bool = False
    warnings: tuple[str, ...] = ()

    @overload
    def __getitem__(self, place: int) -> SearchHit: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[SearchHit, ...]: ...
    def __getitem__(self, place: int | slice) -> SearchHit | tuple[SearchHit, ...]:
        return self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)
