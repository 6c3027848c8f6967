"""Makes the text of an extraction that is embedded.

Data with a prose field (``embedding.text_fields``) is embedded as that field. Other data is written
out with its keys: ``workforce: city Oslo, employees 250``. The rules for that are part of the
index's identity.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from app.domain.normal_form import composed
from app.domain.opaque import readable
from app.errors import InvalidInput

TEXT_VERSION: Final = 2
"""Rises when :func:`text_of` changes its result for the same data.

Vectors of two versions aren't mixed.
"""

ALL_FIELDS: Final = "*"
"""In ``leave``, stands for every field that ``take`` doesn't name."""

_NEVER_SAID = "confidence"
_LONGEST_CACHED_NAME = 100
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_APART = re.compile(r"[\s_.\-]+")


@dataclass(frozen=True, slots=True)
class TextRules:
    """The rules by which texts are made.

    ``fields`` names the prose fields, the first choice first. ``take`` and ``leave`` are for data
    without one. They hold paths into the data: keys separated by dots, with arrays ignored. A path
    applies to everything below it, and the longest match wins. A value in ``take`` is always
    written, a value in ``leave`` never. :data:`ALL_FIELDS` in ``leave`` is the shortest path of
    all. Any other value is written unless it is opaque.
    """

    fields: tuple[str, ...]
    take: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """The version and the rules as a text; vectors are comparable only if theirs are equal.

        The order of ``take`` and ``leave`` changes nothing, so they are sorted.
        """
        told = [f"version {TEXT_VERSION}", f"text_fields {_listed(self.fields)}"]
        told += [
            f"{name} {_listed(sorted(set(paths)))}"
            for name, paths in (("take_fields", self.take), ("leave_fields", self.leave))
            if paths
        ]
        return ", ".join(told)


def text_of(extraction_type: str, data: Mapping[str, Any], rules: TextRules) -> str:
    """Return the text to embed: the first of ``rules.fields`` that is a string, else the data.

    The data is written as the type, and each key with its value: ``pricing: monthly price eur 135,
    per seat``. Underscores, dots, hyphens and camel case become spaces. It is traversed depth
    first: objects by sorted key (databases don't keep another order), arrays in their order. A key
    is written once, before the first value below it, so the text grows with the data and not with
    its depth. True is written as the key, false as ``no`` and the key; equal numbers are written
    alike (1.0 as 1). Null, blank strings, ``confidence``, keys that begin with ``_``, and opaque
    values (:mod:`app.domain.opaque`) are left out, unless nothing would remain.

    Raises:
        InvalidInput: as :func:`require_text`.
    """
    prose = _prose(data, rules.fields)
    if prose is not None:
        return prose
    names = _Names(rules.take, rules.leave)
    said = ", ".join(_said(data, names)) or ", ".join(_said(data, _EVERYTHING))
    if not said:
        raise InvalidInput(_NOTHING)
    return f"{_words(extraction_type) or extraction_type}: {said}"


def require_text(data: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Make sure that there is a text to embed, under any rules with these prose fields.

    Raises:
        InvalidInput: the text is blank. A blank prose field is an error and isn't skipped: the
            caller meant it to be the text.
    """
    if _prose(data, fields) is None and not _says_anything(data):
        raise InvalidInput(_NOTHING)


def _says_anything(data: Mapping[str, Any]) -> bool:
    """Whether there is any text, number or boolean. A quick check, as it runs for every item."""
    rest: list[Any] = [data]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            if value.strip():
                return True
        elif isinstance(value, Mapping):
            rest.extend(value.values())
        elif isinstance(value, list | tuple):
            rest.extend(value)
        elif value is not None:
            return True
    return False


_NOTHING = "the data holds no text, number or boolean to embed"


def _prose(data: Mapping[str, Any], fields: Sequence[str]) -> str | None:
    for field in fields:
        text = data.get(composed(field, "embedding.text_fields"))
        if isinstance(text, str):
            if not text.strip():
                raise InvalidInput(f"the field {field!r} is blank, so there is no text to embed")
            return text
    return None


class _Names:
    """The fields named by ``take`` and ``leave``."""

    def __init__(self, take: Sequence[str], leave: Sequence[str]) -> None:
        self.everywhere = False if ALL_FIELDS in leave else None
        self._named = {composed(path, "embedding.leave_fields"): False for path in leave}
        self._named.update((composed(path, "embedding.take_fields"), True) for path in take)
        self._longest = max(map(len, self._named), default=0)

    def below(self, path: str | None, key: str) -> str | None:
        """Return a member's path; None if it is longer than every named path, to save making it."""
        if path is None or len(path) + len(key) > self._longest:
            return None
        return f"{path}.{key}" if path else key

    def wanted(self, path: str | None, key: str, inherited: bool | None) -> bool | None:
        """True if the member is taken, False if it is left out, None if no rule applies."""
        named = None if path is None else self._named.get(path)
        if named is not None:
            return named
        if inherited is None and (key.startswith("_") or key == _NEVER_SAID):
            return False
        return inherited


_EVERYTHING = _Names((), ())
_EVERYTHING.everywhere = True


@dataclass(slots=True)
class _Place:
    """A value met while traversing the data, with its key, its path and the rule for it."""

    value: Any
    key: str
    path: str | None
    wanted: bool | None


def _said(data: Mapping[str, Any], names: _Names) -> Iterator[str]:
    """Yield each value's text, with those keys above it that weren't written yet."""
    keys: list[str] = []
    rest: list[_Place | int] = [_Place(data, "", "", names.everywhere)]
    while rest:  # a stack, since data may be nested deeper than Python recurses
        place = rest.pop()
        if isinstance(place, int):  # the end of an object or array: how many keys there were before it
            del keys[place:]
            continue
        if isinstance(place.value, Mapping | list | tuple):
            rest.append(len(keys))
            keys.append(place.key)
            rest.extend(_inner(place, names))
        elif said := _value(place):
            yield " ".join(filter(None, (*map(_words, keys), said))) if any(keys) else said
            keys.clear()


def _inner(place: _Place, names: _Names) -> Iterator[_Place]:
    """Yield the members or elements of an object or array, the last one first."""
    value = place.value
    if not isinstance(value, Mapping):
        for element in reversed(value):
            yield _Place(element, "", place.path, place.wanted)
        return
    for key in sorted(value, reverse=True):
        path = names.below(place.path, key)
        yield _Place(value[key], key, path, names.wanted(path, key, place.wanted))


def _value(place: _Place) -> str:
    value, key = place.value, _words(place.key)
    if value is None or place.wanted is False:
        return ""
    if isinstance(value, bool) and key:
        return key if value else f"no {key}"
    said = value if isinstance(value, str) else _spelling(value)
    if isinstance(value, str) and not place.wanted:
        said = readable(value)
    return f"{key} {said}".strip() if said.strip() else ""


def _spelling(value: int | float) -> str:  # noqa: PYI041 - both are told apart below
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _words(name: str) -> str:
    """Split a key or a type into words: ``employeeCount_eur`` becomes ``employee count eur``."""
    return _cached_words(name) if len(name) <= _LONGEST_CACHED_NAME else _split(name)


def _split(name: str) -> str:
    words = _APART.split(_CAMEL.sub(" ", name))
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words if word)


_cached_words = lru_cache(4_096)(_split)


def _listed(names: Sequence[str]) -> str:
    return json.dumps([composed(name, "embedding.text_fields") for name in names], ensure_ascii=False)
