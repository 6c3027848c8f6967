"""A search and its hits, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import overload

from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId
from app.domain.rows import ExtractionRow
from app.errors import InvalidField

MAX_HITS = 1_000
"""How many hits one search may ask for, including those that ``offset`` skips."""

MAX_QUERY_CHARS = 10_000


class SearchMode(StrEnum):
    """How a search finds extractions."""

    AUTO = "auto"
    """By meaning and by words, with their scores combined."""
    MEANING = "meaning"
    WORDS = "words"


@dataclass(frozen=True, slots=True)
class Query:
    """A search for a text, in one project or in all.

    The first ``offset`` hits are skipped. Hits that score less than ``min_score`` are left out.
    ``collapse`` merges facts with the same type and data from several sources into one hit.
    """

    text: str
    project: str | None = None
    limit: int = 10
    filters: Filters = ANY
    mode: SearchMode = SearchMode.AUTO
    offset: int = 0
    min_score: float | None = None
    collapse: bool = False

    def __post_init__(self) -> None:
        """Take the mode as text, too.

        Raises:
            InvalidField: there is no such mode.
        """
        try:
            object.__setattr__(self, "mode", SearchMode(self.mode))
        except ValueError:
            modes = ", ".join(SearchMode)
            raise InvalidField("mode", f"must be one of {modes}, not {self.mode!r:.60}") from None


@dataclass(frozen=True, slots=True)
class Ranked:
    """An extraction's rank in the results of one side, counted from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Twin:
    """Another extraction with the same type and data, and its source."""

    id: ExtractionId
    source_uri: str


Span = tuple[int, int]
"""The start and the end of a match in a text, in characters (code points)."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """An extraction as stored in SQL, and why it was found.

    In a search by words or by both, ``score`` is from 0 to 1. In a search by meaning it is the
    cosine similarity, from -1 to 1, as in ``meaning``. The score in ``words`` is a share of the
    best score that the query's words allow. ``terms`` are the words of the query that the
    extraction has, and ``highlights`` their places, by the path in ``data``.
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
    """The hits of a search, best first.

    ``degraded`` lists what the result lacks, such as one of the two sides; it is empty if nothing
    is missing. ``warnings`` point out oddities in the query's filters.
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
