"""Keys by which an index finds the facts that have a value at a path.

A key is a text: a letter for the kind of value, then the value written so that keys are in the order of the values by code
point. Keys narrow down and don't decide: a condition is tried on all that its keys lead to. So a long text may be cut,
and a fact with too many values has one key that everyone finds.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from app.domain.condition_values import Value, exact_number
from app.domain.conditions import Compare, Contains, Exists, In, Leaf, Op, Starts
from app.domain.field_paths import values_at
from app.domain.times import FIRST_MICROSECOND, microseconds_of, time_of
from app.domain.whole_words import words_of

MAX_KEYS_A_FACT = 256
"""Of one path. A fact with more is found by :data:`ANY_VALUE` alone."""

_MAX_WORDS_A_TEXT = 32
_KEY_CHARS = 100
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_INT64 = 2**63

ANY_VALUE = "!"
ANY_WORD = "m"
_NUMBER, _TEXT, _TIME, _WORD = "n", "s", "t", "w"
_NAMED: dict[bool | None, str] = {None: "z", False: "bf", True: "bt"}


class Lookup(NamedTuple):
    """Under which keys the facts are that a leaf may hold for: single ones, and spans from a first to a last key."""

    keys: frozenset[str]
    spans: frozenset[tuple[str, str]] = frozenset()


def united(lookups: Iterable[Lookup]) -> Lookup:
    """Under the keys of any of them."""
    keys, spans = zip(*lookups, strict=True)
    return Lookup(frozenset().union(*keys), frozenset().union(*spans))


def keys_of(document: object, path: Sequence[str]) -> set[str]:
    """The keys of a fact whose document this is, at most :data:`MAX_KEYS_A_FACT`; none where the path leads to nothing."""
    found = set[str]()
    for value in values_at(document, path):
        for scalar in value if isinstance(value, list) else [value]:
            found.update(_keys_of_scalar(scalar))
            if len(found) > MAX_KEYS_A_FACT:
                return {ANY_VALUE}
    return found


def lookup_of(leaf: Leaf) -> Lookup | None:
    """Where to look for the facts that the leaf may hold for; None where an index is no help."""
    found: Lookup | None = None
    match leaf:
        case Compare(_, Op.EQ, value):
            found = _equal([value])
        case In(_, values):
            found = _equal(values)
        case Compare(_, op, value):
            found = _between(op, value)
        case Starts(_, start):
            first = _key_of(start)
            found = Lookup(frozenset(), frozenset({(first, _after_all_with(first))}))
        case Contains(_, value):
            found = _containing(value)
        case Exists():
            return None
    return None if found is None else Lookup(found.keys | {ANY_VALUE}, found.spans)


def _keys_of_scalar(value: Any) -> Iterable[str]:  # noqa: ANN401 - of any JSON
    if isinstance(value, dict | list):
        return
    yield _key_of(value)
    if not isinstance(value, str):
        return
    if (moment := time_of(value)) is not None:
        yield _key_of(moment)
    words = set(words_of(value))
    if len(words) > _MAX_WORDS_A_TEXT:
        yield ANY_WORD
    elif words != {value}:  # else the text's own key says it
        yield from (_WORD + word[:_KEY_CHARS] for word in words)


def _key_of(value: Value) -> str:
    match value:
        case None | bool():
            return _NAMED[value]
        case str():
            return _TEXT + value[:_KEY_CHARS]
        case datetime():
            return f"{_TIME}{microseconds_of(value) - FIRST_MICROSECOND:016x}"
        case number:
            return _NUMBER + _written(exact_number(number))


def _written(number: float) -> str:
    """The nearest float's bits, so turned that they are in its order (by IEEE 754, signs apart), and what it lacks."""
    nearest = float(number) or 0.0  # there is one zero
    [bits] = struct.unpack(">Q", struct.pack(">d", nearest))
    bits = bits ^ 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else bits | 1 << 63
    lacks = number - int(nearest) if isinstance(number, int) and abs(number) <= _INT64 else 0
    return f"{bits:016x}{lacks + 0x8000:04x}"


def _equal(values: Iterable[Value]) -> Lookup:
    return Lookup(frozenset(map(_key_of, values)))


def _between(op: Op, value: Value) -> Lookup | None:
    if value is None or isinstance(value, bool) or op is Op.NE:
        return None
    key = _key_of(value)
    kind = key[0]
    span = (kind, key) if op in {Op.LT, Op.LE} else (key, _after_all_with(kind))
    return Lookup(frozenset(), frozenset({span}))


def _containing(value: Value) -> Lookup:
    words = words_of(value) if isinstance(value, str) else []
    if not words:
        return _equal([value])
    longest = max(words, key=len)[:_KEY_CHARS]
    return Lookup(frozenset({_WORD + longest, _TEXT + longest, ANY_WORD}))


def _after_all_with(start: str) -> str:
    """A text after all that start so, by code point; no key is this very text, or it is one that may be found too."""
    while start and ord(start[-1]) == _LAST_CODE_POINT:
        start = start[:-1]
    following = ord(start[-1]) + 1
    return start[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
