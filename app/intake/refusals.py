"""Translate pydantic's validation errors to agent-storage's own messages."""

from collections.abc import Callable, Mapping
from typing import Any

from app.domain.condition_values import described

_PATTERNS = {
    r"^[^\x00]*$": "must not contain the character U+0000",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$": "must be 1 to 100 of the letters A to Z, digits, '.', '-' and '_', "
    "beginning with a letter or a digit",
}
_WANTED = {
    "bool": "true or false",
    "date": "a date",
    "datetime": "a time such as 2026-01-31T12:00:00Z",
    "dict": "an object",
    "finite": "a finite number",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "model": "an object",
    "string": "a text",
    "tuple": "a list",
    "uuid": "a UUID",
}
"""By the first word of an error's type, as in ``int_type``, ``int_parsing``, ``int_from_float``."""

_PHRASES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "required",
    "extra_forbidden": lambda _: "unknown; there is no such field",
    "value_error": lambda context: str(context["error"]),
    "json_invalid": lambda context: f"not JSON: {context['error']}",
    "string_pattern_mismatch": lambda context: _PATTERNS.get(
        context["pattern"], "has characters that aren't allowed"
    ),
    "greater_than": lambda context: f"must be more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']:g}",
    "less_than": lambda context: f"must be less than {context['lt']:g}",
    "less_than_equal": lambda context: f"must be at most {context['le']:g}",
    "string_too_short": lambda context: _at_least(context["min_length"], "characters"),
    "string_too_long": lambda context: f"must have at most {context['max_length']:,} characters",
    "too_short": lambda context: _at_least(context["min_length"], "members"),
    "too_long": lambda context: f"must have at most {context['max_length']:,} members",
}


def refusal_of(error: Mapping[str, Any]) -> str:
    """Say what a value must be instead, from one of ``ValidationError.errors()``."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _PHRASES:
        return _PHRASES[kind](context)
    wanted = context.get("expected") or _WANTED.get(kind.split("_")[0], "another value")
    value = error["input"]
    # A text or a number may be a key that was sent in the wrong place, so it isn't repeated.
    if isinstance(value, str):
        return f"must be {wanted}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"must be {wanted}, not {'a number' if is_number else described(value)}"


def _at_least(count: int, what: str) -> str:
    return "must not be empty" if count == 1 else f"must have at least {count:,} {what}"
