"""Types of members, and the base of request bodies."""

from itertools import islice
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from app.domain.items import MAX_LABEL_CHARS, MAX_URI_CHARS, MOST_DECOMPOSED
from app.domain.normal_form import composed

MOST_FAULTS = 100
"""The maximum number of errors that are reported for one body."""


def _composed(text: object) -> object:
    """Normalize to NFC, whose length is limited; skip a text that is too long in any form."""
    if isinstance(text, str) and len(text) <= MOST_DECOMPOSED * MAX_LABEL_CHARS:
        return composed(text, "label")
    return text


Label = Annotated[
    str,
    Field(min_length=1, max_length=MAX_LABEL_CHARS, pattern=r"^[^\x00]*$"),
    BeforeValidator(_composed, json_schema_input_type=str),
]
ProjectName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="1 to 100 characters: letters A to Z, digits, '.', '-' and '_', the first a letter or digit.",
    ),
]
PageLimit = Annotated[int, Field(ge=1, le=1_000, description="The maximum number of items.")]
Labels = Annotated[list[Label], Field(max_length=100)]
SourceUris = Annotated[
    list[
        Annotated[str, Field(min_length=1, max_length=MOST_DECOMPOSED * MAX_URI_CHARS, pattern=r"^[^\x00]*$")]
    ],
    Field(max_length=100),
]
Id = Annotated[UUID, Field(strict=False)]
Ids = Annotated[list[Id], Field(fail_fast=True)]
RunIds = Annotated[list[Id], Field(max_length=100)]
UriPrefix = Annotated[str, Field(min_length=1, max_length=MAX_URI_CHARS, pattern=r"^[^\x00]*$")]
Confidence = Annotated[float, Field(ge=0, le=1)]
Warnings = Annotated[
    list[str], Field(description="Likely mistakes in the filters: paths that no fact of the project has.")
]


class Body(BaseModel):
    """The base of request bodies; unknown fields and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _pass_over_most_unknown(cls, members: object) -> object:
        """Keep only a hundred of the unknown fields, because each one makes an error."""
        if not isinstance(members, dict) or len(members) <= len(cls.model_fields) + MOST_FAULTS:
            return members
        known = {name: members[name] for name in cls.model_fields if name in members}
        return {**known, **dict(islice(((n, v) for n, v in members.items() if n not in known), MOST_FAULTS))}
