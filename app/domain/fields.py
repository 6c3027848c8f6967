"""Descriptions and statistics of the fields that facts have, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DescribedField:
    """A path to scalars in the data or the metadata, with its frequency, kinds and examples.

    ``path`` is written as in conditions. ``facts`` is how many facts have it. ``kinds`` counts
    facts by text, number, time, true or false, and null; a time is a text that spells one.
    """

    path: str
    facts: int
    kinds: Mapping[str, int]
    examples: Sequence[Any]


@dataclass(frozen=True, slots=True)
class DescribedType:
    """A type, how many facts of the sample have it, and their fields, the most frequent first."""

    type: str
    facts: int
    fields: Sequence[DescribedField]


@dataclass(frozen=True, slots=True)
class Description:
    """The types of a project, by a sample of ``sampled`` facts; ``whole`` if these are all."""

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
    """The distribution of the numbers among the values, each counted once per fact.

    There are nine deciles. The n-th is the smallest number that n tenths of them don't exceed.
    """

    count: int
    min: float
    max: float
    mean: float
    deciles: Sequence[float]


@dataclass(frozen=True, slots=True)
class Facet:
    """Facts counted by their values at ``by``: the most frequent values, and the rest.

    A fact with several values, as in an array, counts once for each. ``rest_values`` is how many
    other values there are, and ``rest`` the sum of their counts. ``missing`` is how many facts have
    no value. Objects aren't values; ``objects`` is how many facts have one there.
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
    """The facets of the ``count`` facts that pass the filters, and warnings about the filters."""

    count: int
    facets: Sequence[Facet]
    warnings: tuple[str, ...] = ()
