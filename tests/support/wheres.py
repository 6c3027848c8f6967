"""Conditions for the values at paths."""

from collections.abc import Mapping
from typing import Any

from app.domain.conditions import And, Compare, Condition, Op
from app.intake.where_json import write_where_json
from app.intake.where_text import parse_path


def where(values: Mapping[str, Any]) -> Condition:
    """The condition that all these paths have these values."""
    parts = tuple(Compare(parse_path(path), Op.EQ, value) for path, value in values.items())
    return parts[0] if len(parts) == 1 else And(parts)


def where_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """The condition of :func:`where` as JSON."""
    return write_where_json(where(values))
