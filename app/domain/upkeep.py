"""What looking after the index has found and done."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Self


@dataclass(frozen=True, slots=True)
class Indexed:
    """How many extractions got their vector, and how many were set aside because they can't have one.

    Of those that got it, ``cut`` have a vector of the beginning of their text alone: it is longer
    than the model takes.
    """

    indexed: int = 0
    set_aside: int = 0
    cut: int = 0

    def __add__(self, other: "Indexed") -> "Indexed":
        return Indexed(self.indexed + other.indexed, self.set_aside + other.set_aside, self.cut + other.cut)


@dataclass(frozen=True, slots=True)
class Differences:
    """What a comparison has found so far.

    ``orphans`` are rows without a vector, ``ghosts`` vectors without a row, ``missing`` rows that
    are marked as indexed but have no vector, or one of before a rebuild, ``stale`` rows whose
    vector's payload isn't theirs, ``words_missing`` rows without words, ``words_stale`` rows with
    those of another version of the rules. Rows that were set aside because they can't be embedded
    are counted apart and are no difference; ``cut`` are those of which a repair has embedded the
    beginning alone. The ``repaired_`` counts say how many of each a repair has dealt with.
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
        """How many differences are left: all that were found, or what a finished repair has counted anew."""
        found = self.orphans + self.ghosts + self.missing + self.stale + self.words_missing + self.words_stale
        return found if self.left is None else self.left

    def as_dict(self) -> dict[str, int]:
        """The counts, and how many differences remain."""
        counts = {name: count for name, count in asdict(self).items() if name != "left"}
        return {**counts, "remaining": self.remaining}

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> Self:
        """The opposite of :meth:`as_dict`.

        Raises:
            KeyError: a count is missing.
        """
        found = {each.name: int(counts[each.name]) for each in fields(cls) if each.name != "left"}
        return cls(**found, left=int(counts["remaining"]))
