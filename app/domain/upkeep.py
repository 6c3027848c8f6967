"""The results of index maintenance: indexing, comparing and repairing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self


@dataclass(frozen=True, slots=True)
class Indexed:
    """How many extractions got their vector, and how many can't have one and were set aside.

    ``cut`` of the indexed ones have a vector of only the beginning of their text, because it is
    longer than the model accepts.
    """

    indexed: int = 0
    set_aside: int = 0
    cut: int = 0

    def __add__(self, other: "Indexed") -> "Indexed":
        return Indexed(self.indexed + other.indexed, self.set_aside + other.set_aside, self.cut + other.cut)


@dataclass(frozen=True, slots=True)
class Differences:
    """What a comparison of the stores has found so far.

    ``orphans`` are rows without a vector, and ``ghosts`` vectors without a row. ``missing`` are
    rows marked as indexed that have no vector, or one from before a rebuild. ``stale`` are rows
    whose vector has a different payload. ``words_missing`` are rows without words, and
    ``words_stale`` rows with words by another version of the rules. ``set_aside`` rows can't be
    embedded; they are counted separately and aren't a difference. ``cut`` are rows of which a
    repair has embedded only the beginning. The ``repaired_`` counts are how many of each a repair
    has dealt with.
    """

    extractions: int = 0
    points: int = 0
    orphans: int = 0
    ghosts: int = 0
    missing: int = 0
    stale: int = 0
    words_missing: int = 0
    words_stale: int = 0
    set_aside: int = 0
    cut: int = 0
    repaired_orphans: int = 0
    repaired_ghosts: int = 0
    repaired_missing: int = 0
    repaired_stale: int = 0
    repaired_words_missing: int = 0
    repaired_words_stale: int = 0
    left: int | None = None

    @property
    def remaining(self) -> int:
        """How many differences are left: all found, or as counted again by a finished repair."""
        found = self.orphans + self.ghosts + self.missing + self.stale + self.words_missing + self.words_stale
        return found if self.left is None else self.left

    @property
    def repaired(self) -> int:
        """How many differences a repair has made right."""
        return sum(count for name, count in asdict(self).items() if name.startswith("repaired_"))

    def as_dict(self) -> dict[str, int]:
        """Return the counts, and how many differences remain."""
        counts = {name: count for name, count in asdict(self).items() if name != "left"}
        return {**counts, "remaining": self.remaining}

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> Self:
        """Make the differences from the result of :meth:`as_dict`.

        Raises:
            KeyError: a count is missing.
        """
        found = {each.name: int(counts[each.name]) for each in fields(cls) if each.name != "left"}
        return cls(**found, left=int(counts["remaining"]))
