"""The text of an extraction to index by words: all texts and numbers of its data, in full."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_PROSE = re.compile(r"(?:\S+\s+){5}\S")
"""Six words: a text that is understood without its key."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Said(NamedTuple):
    """A text in the data, and the path that leads to it: keys, and places in arrays."""

    path: tuple[str | int, ...]
    text: str


def text_to_index(extraction_type: str, data: Mapping[str, Any]) -> str:
    """Return the text to index, one value per line.

    If no value is prose, the type and the keys are included, because they give the values their
    meaning. ``confidence`` and members whose key begins with ``_`` aren't content, and are left
    out.
    """
    values, keys = list[str](), dict[str, None]()
    rest: list[tuple[str | None, Any]] = [
        (None, data)
    ]  # a stack, since data may be nested deeper than Python recurses
    while rest:
        key, value = rest.pop()
        if key is not None:
            keys[key] = None
        if isinstance(value, str):
            values.append(value)
        elif isinstance(value, dict):
            wanted = [key for key in sorted(value, reverse=True) if _counts(key) and _says(value[key])]
            rest += [(key, value[key]) for key in wanted]
        elif isinstance(value, list):
            rest += [(None, element) for element in reversed(value)]
        elif value is not None and not isinstance(value, bool):
            values.append(json.dumps(value))
    if any(map(_PROSE.match, values)):
        return "\n".join(values)
    return "\n".join([*map(_as_words, (extraction_type, *keys)), *values])


def _says(value: object) -> bool:
    """Whether the key of a value is indexed. Those of false and null aren't."""
    return value is not None and value is not False


def texts_in(data: Mapping[str, Any]) -> Iterator[Said]:
    """Yield the texts and numbers of the data, in the order of sorted keys."""
    rest: list[tuple[tuple[str | int, ...], Any]] = [((), data)]
    while rest:  # a stack, since data may be nested deeper than Python recurses
        path, value = rest.pop()
        if isinstance(value, Mapping):
            rest.extend(((*path, key), value[key]) for key in sorted(value, reverse=True) if _counts(key))
        elif isinstance(value, list | tuple):
            rest.extend(((*path, place), value[place]) for place in reversed(range(len(value))))
        elif isinstance(value, str):
            yield Said(path, value)
        elif value is not None and not isinstance(value, bool):
            yield Said(path, json.dumps(value))


def _counts(key: str) -> bool:
    return key != "confidence" and not key.startswith("_")


def _as_words(name: str) -> str:
    return _CAMEL.sub(" ", name).replace("_", " ")
