"""Paths in JSON documents, as conditions follow them: see :mod:`app.domain.conditions`."""

from collections.abc import Iterator, Sequence
from typing import Any

from app.errors import InvalidField

_MOST_KEYS = 8
"""How deep paths are listed; a document may be nested deeper."""


def require_plain(keys: Sequence[str], name: str) -> None:
    """Reject keys that can't be written in a JSON path of SQLite.

    Raises:
        InvalidField: a key has a quote, a backslash or a control character. ``name`` is the field
            that the error names.
    """
    if any(character in '"\\' or ord(character) < ord(" ") for key in keys for character in key):
        raise InvalidField(name, "the path has a key with a quote, a backslash or a control character")


def values_at(document: object, keys: Sequence[str]) -> list[Any]:
    """Return all values at a path; an array at the end stands for itself and for each element."""
    here = [document]
    for key in keys:
        here = [each[key] for each in _looked_into(here) if isinstance(each, dict) and key in each]
    return _looked_into(here)


def paths_in(document: object, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each scalar with its path of at most eight keys.

    A path through an array occurs several times.
    """
    for value in _looked_into([document]):
        if isinstance(value, dict) and len(keys) < _MOST_KEYS:
            for key, member in value.items():
                yield from paths_in(member, (*keys, key))
        elif not isinstance(value, dict | list):
            yield keys, value


def _looked_into(values: list[Any]) -> list[Any]:
    return [inner for value in values for inner in [value, *(value if isinstance(value, list) else [])]]
