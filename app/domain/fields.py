"""What is said of the fields that facts have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DescribedField:
    """A path in the data or the metadata that leads to scalars: how many facts have it, of which kinds, such as which.

    ``path`` is written as conditions write it. ``kinds`` counts facts by text, number, time, true
    or false, and null; a time is a text that spells one.
    """

    path: str
    facts: int
    kinds: Mapping[str, int]
    examples: Sequence[Any]


@dataclass(frozen=True, slots=True)
class DescribedType:
    """The facts of one type: how many of those looked at are of it, and their fields, the most frequent first."""

    type: str
    facts: int
    fields: Sequence[DescribedField]


@dataclass(frozen=True, slots=True)
class Description:
    """The types of a project, by ``sampled`` of its facts; ``whole`` if these are all."""

    sampled: int
    whole: bool
    types: Sequence[DescribedType]


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value, and how many facts have it."""

    value: Any
    count: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """How the numbers among the values are spread, each counted once a fact.

    A decile is the smallest number that so many tenths of them don't exceed; there are nine.
    """

    count: int
    min: float
    max: float
    mean: float
    deciles: Sequence[float]


@dataclass(frozen=True, slots=True)
class Facet:
    """Facts counted by what they have at ``by``: the most frequent values, and the rest.

    A fact with several values, as in an array, counts for each once. ``rest_values`` is how many
    further values there are, and ``rest`` the sum of their counts; ``missing`` facts have none.
    Objects are no values; ``objects`` facts have one there.
    """

    by: str
    values: Sequence[FacetValue]
    rest_values: int
    rest: int
    missing: int
    objects: int
    numbers: Numbers | None


@dataclass(frozen=True, slots=True)
class Facets:
    """Facets of the ``count`` facts that pass the filters, and what is odd about these."""

    count: int
    facets: Sequence[Facet]
    warnings: tuple[str, ...] = ()
