"""Conditions on an extraction's data, as a person writes them: ``PATH=VALUE``."""

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from app.domain.filters import Filters, Scalar
from app.domain.normal_form import composed
from app.errors import InvalidField, InvalidInput
from app.intake.exact_json import decode


def parse_condition(text: str) -> tuple[str, Scalar]:
    """The path, and the JSON scalar that must stand there; what isn't JSON is a string. Texts are in NFC.

    Raises:
        InvalidField: there is no path, or the value is an array or an object.
    """
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise InvalidField("where", f"wants PATH=VALUE, not {text[:100]!r}")
    path, value = composed(path, "where"), composed(value, "where")
    try:
        decoded = decode(value.encode(errors="surrogatepass"))
    except InvalidInput:
        return path, value
    if isinstance(decoded, dict | list):
        raise InvalidField("where", f"compares strings, numbers, true, false and null, not {value[:100]!r}")
    return path, cast(Scalar, decoded)


def with_conditions(filters: Filters, texts: Iterable[str]) -> Filters:
    """The filters, and that all conditions of ``texts`` hold besides.

    Two that name another value for one path can't both hold: then the filters match nothing.

    Raises:
        InvalidField: one is no condition; see :func:`parse_condition`.
    """
    conditions: dict[str, Scalar] = {}
    contradict = False
    for path, value in map(parse_condition, texts):
        contradict |= not _are_equal(conditions.setdefault(path, value), value)
    return replace(filters, where={}, extraction_ids=()) if contradict else replace(filters, where=conditions)


def _are_equal(one: Scalar, other: Scalar) -> bool:
    """As JSON: 1 and 1.0 are, true and 1 aren't."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other
