"""Conditions on an extraction's data, as a person writes them: ``PATH=VALUE``."""

from typing import cast

from app.domain.filters import Scalar
from app.errors import InvalidField, InvalidInput
from app.intake.json_lines import decode


def parse_condition(text: str) -> tuple[str, Scalar]:
    """The path, and the JSON scalar that must stand there; what isn't JSON is a string.

    Raises:
        InvalidField: there is no path, or the value is an array or an object.
    """
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise InvalidField("where", f"wants PATH=VALUE, not {text[:100]!r}")
    try:
        decoded = decode(value.encode(errors="surrogatepass"))
    except InvalidInput:
        return path, value
    if isinstance(decoded, dict | list):
        raise InvalidField("where", f"compares strings, numbers, true, false and null, not {value[:100]!r}")
    return path, cast(Scalar, decoded)
