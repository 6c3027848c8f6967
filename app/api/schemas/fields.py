"""Facets, and descriptions of a project's fields."""

from typing import Any

from pydantic import BaseModel, Field

from app.api.schemas.filters import Filters
from app.api.schemas.values import Warnings
from app.services.fields import MOST_FACETS, MOST_VALUES


class FacetsOf(Filters):
    """The fields by which to count the extractions that match the filters."""

    by: list[str] = Field(
        min_length=1,
        max_length=MOST_FACETS,
        description="Each is type, group, source, run, day, a path in `data`, or one in `metadata` like `metadata.page`.",
    )
    limit: int = Field(
        default=10,
        ge=1,
        le=MOST_VALUES,
        description="How many values of each are listed; the rest are summed up.",
    )


class FacetValue(BaseModel):
    """A value, and the number of extractions that have it."""

    value: Any
    count: int


class Numbers(BaseModel):
    """The distribution of numbers; the nine deciles are values that occur."""

    count: int
    min: float
    max: float
    mean: float
    deciles: list[float]


class Facet(BaseModel):
    """Extractions counted by the values of a field.

    `rest` is the sum of the counts of the `rest_values` further values; `missing` extractions have
    no value, and `objects` have an object there.
    """

    by: str
    values: list[FacetValue]
    rest_values: int
    rest: int
    missing: int
    objects: int
    numbers: Numbers | None


class Facets(BaseModel):
    """The number of extractions that match the filters, and their facets."""

    count: int
    facets: list[Facet]
    warnings: Warnings


class DescribedField(BaseModel):
    """A path, the number of sampled extractions that have it, its values' kinds, and examples."""

    path: str
    facts: int
    kinds: dict[str, int]
    examples: list[Any]


class DescribedType(BaseModel):
    """A type, and the fields of its data and metadata."""

    type: str
    facts: int
    fields: list[DescribedField]


class Described(BaseModel):
    """The types of a project, from a sample of extractions; `whole`: the sample is all of them."""

    sampled: int
    whole: bool
    types: list[DescribedType]
