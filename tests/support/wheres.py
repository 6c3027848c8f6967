"""Conditions that name the values that paths lead to."""

from collections.abc import Mapping
from typing import Any

from app.domain.conditions import And, Compare, Condition, Op
from app.intake.where_json import write_where_json
from app.intake.where_text import parse_path


def where(values: Mapping[str, Any]) -> Condition:
    """All of these paths lead to these values."""
    parts = tuple(Compare(parse_path(path), Op.EQ, value) for path, value in values.items())
    return parts[0] if len(parts) == 1 else And(parts)


def where_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`where`, as a body has it."""
    return write_where_json(where(values))
