"""Filters and conditions, which select extractions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, PrivateAttr

from app.api.schemas.values import Body, Confidence, Labels, RunIds, SourceUris
from app.domain import conditions, filters
from app.intake.where_json import parse_where_json

Scalar = str | int | float | bool | None


class Moment(BaseModel):
    """A time to compare with: a date, or a date and a time, in ISO 8601."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"time": "2025-01-31T08:30:00Z"}]}
    )

    time: str


class Condition(BaseModel):
    """A condition on a fact: one of `and`, `or` and `not`, or a `path` and an `op`.

    `in` takes `values`, `exists` takes nothing, all others take a `value`. The meaning is the same
    as in the text of `?where=`.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"path": "price.amount", "op": ">=", "value": 100},
                {"path": "country", "op": "in", "values": ["DE", "FR"]},
                {"path": "valid_from", "op": ">=", "value": {"time": "2025-01-01"}},
                {
                    "and": [
                        {"path": "type", "op": "=", "value": "product"},
                        {"not": {"path": "tags", "op": "contains", "value": "indoor"}},
                        {"path": "metadata.page", "op": "exists"},
                    ]
                },
            ]
        },
    )

    all_of: list["Condition"] | None = Field(default=None, alias="and", min_length=1)
    one_of: list["Condition"] | None = Field(default=None, alias="or", min_length=1)
    negated: "Condition | None" = Field(default=None, alias="not")
    path: str | None = Field(
        default=None,
        description="A field of the fact (type, group, source, confidence, created, changed, run, indexed), a path in "
        "`data`, or a path that begins with `data.` or `metadata.`; a key with a dot in it is in double quotes.",
    )
    op: Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains", "exists", "starts"] | None = None
    value: Scalar | Moment = None
    values: list[Scalar | Moment] | None = Field(default=None, min_length=1)


Where = Annotated[conditions.Condition, PlainValidator(parse_where_json, json_schema_input_type=Condition)]
"""Parsed by :func:`parse_where_json`, whose errors name the place; see :class:`Condition`."""


class Filters(Body):
    """Filters that select extractions; an extraction must match all of them."""

    source_groups: Labels = Field(default=[])
    extraction_types: Labels = Field(default=[])
    min_confidence: Confidence | None = None
    max_confidence: Confidence | None = None
    source_uris: SourceUris = Field(default=[])
    run_ids: RunIds = Field(default=[], description="The runs that asserted an extraction first or last.")
    where: Where | None = Field(
        default=None, description="A condition on an extraction's data, metadata or own fields."
    )
    indexed: bool | None = Field(
        default=None, description="True: only those that search can find; false: only those without a vector."
    )
    set_aside: bool | None = Field(
        default=None, description="True: only those that can't be embedded; false: only the others."
    )
    _for_service: filters.Filters = PrivateAttr()

    def model_post_init(self, _context: object) -> None:
        """Normalize texts during validation, off the event loop.

        2 MiB of combining characters take 0.8 s.
        """
        self._for_service = filters.Filters(
            source_groups=tuple(self.source_groups),
            extraction_types=tuple(self.extraction_types),
            min_confidence=self.min_confidence,
            max_confidence=self.max_confidence,
            source_uris=tuple(self.source_uris),
            run_ids=tuple(self.run_ids),
            where=self.where,
            indexed=self.indexed,
            set_aside=self.set_aside,
        )

    def for_service(self) -> filters.Filters:
        """The filters as the services take them."""
        return self._for_service
