"""Questions with the texts that answer them, to compare embedders by."""

from dataclasses import dataclass

MAX_PAIRS = 100_000


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, and the text that a search for it should find first."""

    query: str
    text: str
