"""What pydantic refuses, in this project's words."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pydantic_core
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from support.cli import ROOT

from app.intake.refusals import _PATTERNS, refusal_of


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Everything(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    number: Annotated[int, Field(ge=1, le=1_000)] = 1
    share: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.5
    text: Annotated[str, Field(min_length=1, max_length=2_000)] = "a"
    plain: Annotated[str, Field(pattern=r"^[^\x00]*$")] = ""
    many: Annotated[list[int], Field(min_length=2, max_length=1_000)] = []
    flag: bool = True
    id: UUID = UUID(int=1)
    colour: Colour = Colour.RED
    size: Literal["small", "large"] = "small"
    data: dict[str, Any] = {}
    at: datetime | None = None


CASES: list[tuple[str, object, str]] = [
    ("number", "1", "must be an integer"),
    ("number", 0, "must be at least 1"),
    ("number", 1_001, "must be at most 1000"),
    ("number", 1.5, "must be an integer, not a number"),
    ("share", None, "must be a number, not null"),
    ("share", 0.0, "must be more than 0"),
    ("share", 1.0, "must be less than 1"),
    ("text", 1, "must be a text, not a number"),
    ("text", "", "must not be empty"),
    ("text", "a" * 2_001, "must have at most 2,000 characters"),
    ("plain", "\x00", "must not contain the character U+0000"),
    ("many", [1], "must have at least 2 members"),
    ("many", [1] * 1_001, "must have at most 1,000 members"),
    ("many", {}, "must be a list, not an object"),
    ("flag", 1, "must be true or false, not a number"),
    ("id", "x", "must be a UUID"),
    ("colour", "green", "must be 'red' or 'blue'"),
    ("size", [], "must be 'small' or 'large', not a list"),
    ("data", [], "must be an object, not a list"),
    ("at", "soon", "must be a time such as 2026-01-31T12:00:00Z"),
    ("other", 1, "unknown; there is no such field"),
]


@pytest.mark.parametrize(("field", "value", "told"), CASES)
def test_a_refusal_names_what_is_wanted(field: str, value: object, told: str) -> None:
    # JSON, in which Python's own types can't be told apart from their texts.
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate_json(pydantic_core.to_json({field: value}))
    assert refusal_of(caught.value.errors()[0]) == told


def test_every_pattern_of_the_api_has_its_words() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "app" / "api").rglob("*.py"))
    found = re.findall(r'pattern=r"(.*?)"', sources)
    assert len(found) == sources.count("pattern=") >= len(_PATTERNS)
    assert set(found) == set(_PATTERNS)
