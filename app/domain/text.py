"""Which text of an extraction's data is embedded."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.domain.normal_form import composed
from app.errors import InvalidInput


def text_of(data: Mapping[str, Any], fields: Sequence[str]) -> str:
    """The text to embed: the first of ``fields`` that is a string in ``data``, else all scalars of ``data``.

    A field that isn't there or holds anything but a string is passed over. Scalars are collected depth first,
    objects in the order of their sorted keys (databases don't keep another) and arrays in theirs, and joined
    by spaces; numbers and booleans are spelled as in JSON, equal numbers alike (1.0 as 1); null is left out.

    Raises:
        InvalidInput: the text is blank; a blank field isn't passed over, because whoever filled it in meant it.
    """
    for field in fields:
        text = data.get(composed(field, "embedding.text_fields"))
        if isinstance(text, str):
            return _not_blank(text, f"the field {field!r} is blank, so there is no text to embed")
    return _not_blank(" ".join(_scalars(data)), "the data holds no text, number or boolean to embed")


def _not_blank(text: str, reason: str) -> str:
    if not text.strip():
        raise InvalidInput(reason)
    return text


def _scalars(data: Mapping[str, Any]) -> Iterator[str]:
    rest: list[Any] = [data]  # a stack, since data may be nested deeper than Python recurses
    while rest:
        value = rest.pop()
        if isinstance(value, Mapping):
            rest.extend(value[key] for key in sorted(value, reverse=True))
        elif isinstance(value, list | tuple):
            rest.extend(reversed(value))
        elif isinstance(value, str):
            yield value
        elif value is not None:
            yield _spelling(value)


def _spelling(value: int | float) -> str:  # noqa: PYI041 - both are told apart below
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
