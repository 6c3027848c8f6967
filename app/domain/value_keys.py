"""Keys by which an index finds the facts that have a value at a path.

A key is a text: a letter for the kind of value, then the value, written so that keys sort by code
point as the values sort. Keys only narrow the search: the condition is then checked on every fact
found. So a long text may be cut, and a fact with too many values has a single key, which every
lookup includes.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from app.domain.condition_values import Value, exact_number
from app.domain.conditions import Compare, Contains, Exists, In, Leaf, Op, Starts
from app.domain.field_paths import values_at
from app.domain.times import FIRST_MICROSECOND, microseconds_of, time_of
from app.domain.whole_words import words_of

MAX_KEYS_A_FACT = 256
"""The limit for one path. A fact with more keys has only the key :data:`ANY_VALUE`."""

_MAX_WORDS_A_TEXT = 32
_WORDS_LOOKED_UP = 3
_KEY_CHARS = 100
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_INT64 = 2**63

ANY_VALUE = "!"
ANY_WORD = "m"
SEVERAL = "+"
"""The key of a fact with more than one value at the path.

Of a span's two bounds, each may hold for a different value, with no value between them.
"""
_NUMBER, _TEXT, _TIME, _WORD = "n", "s", "t", "w"
_NAMED: dict[bool | None, str] = {None: "z", False: "bf", True: "bt"}


class Lookup(NamedTuple):
    """The keys of the facts that a leaf may hold for: single keys, and spans with both ends."""

    keys: frozenset[str]
    spans: frozenset[tuple[str, str]] = frozenset()


def united(lookups: Iterable[Lookup]) -> Lookup:
    """Return the union of the lookups, with overlapping spans merged."""
    keys, spans = zip(*lookups, strict=True)
    merged = list[tuple[str, str]]()
    for first, last in sorted(frozenset().union(*spans)):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return Lookup(frozenset().union(*keys), frozenset(merged))


def between(lookups: Sequence[Lookup]) -> Lookup | None:
    """Intersect spans of one path; None if the lookups aren't spans of one kind of value."""
    spans = [span for lookup in lookups for span in lookup.spans]
    of_kinds = {first[0] for first, _ in spans}
    if len(spans) != len(lookups) or len(of_kinds) != 1 or any(len(lookup.keys) > 1 for lookup in lookups):
        return None
    first, last = max(first for first, _ in spans), min(last for _, last in spans)
    found = frozenset({(first, last)} if first <= last else ())
    return Lookup(frozenset({ANY_VALUE, SEVERAL}), found)


def keys_of(document: object, path: Sequence[str]) -> set[str]:
    """Return the keys of a fact with this document; none if the path leads to nothing.

    There are at most :data:`MAX_KEYS_A_FACT`, and :data:`SEVERAL`.
    """
    found, scalars = set[str](), 0
    for value in values_at(document, path):
        for scalar in value if isinstance(value, list) else [value]:
            if isinstance(scalar, dict | list):
                continue
            scalars += 1
            found.update(_keys_of_scalar(scalar))
            if len(found) > MAX_KEYS_A_FACT:
                return {ANY_VALUE}
    return found | {SEVERAL} if scalars > 1 else found


def lookups_of(leaf: Leaf) -> Sequence[Lookup]:
    """Return lookups for the leaf, each of which finds all facts that it may hold for.

    Empty if an index doesn't help.
    """
    found: Sequence[Lookup | None] = ()
    match leaf:
        case Compare(_, Op.EQ, value):
            found = [_equal([value])]
        case In(_, values):
            found = [_equal(values)]
        case Compare(_, op, value):
            found = [_from(op, value)]
        case Starts(_, start):
            first = _key_of(start)
            found = [Lookup(frozenset(), frozenset({(first, _after_all_with(first))}))]
        case Contains(_, value):
            found = _containing(value)
        case Exists():
            pass
    return [Lookup(each.keys | {ANY_VALUE}, each.spans) for each in found if each is not None]


def _keys_of_scalar(value: Value) -> Iterable[str]:
    yield _key_of(value)
    if not isinstance(value, str):
        return
    if (moment := time_of(value)) is not None:
        yield _key_of(moment)
    words = set(words_of(value))
    if len(words) > _MAX_WORDS_A_TEXT:
        yield ANY_WORD
    elif words != {value}:  # else the key of the text itself is enough
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
    """Write a number as the bits of the nearest float, and the difference that the float lacks.

    The bits of IEEE 754 floats are in the order of the numbers, except for the sign. They are
    flipped so that the order holds across signs.
    """
    nearest = float(number) or 0.0  # -0.0 equals 0.0
    [bits] = struct.unpack(">Q", struct.pack(">d", nearest))
    bits = bits ^ 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else bits | 1 << 63
    lacks = number - int(nearest) if isinstance(number, int) and abs(number) <= _INT64 else 0
    return f"{bits:016x}{lacks + 0x8000:04x}"


def _equal(values: Iterable[Value]) -> Lookup:
    return Lookup(frozenset(map(_key_of, values)))


def _from(op: Op, value: Value) -> Lookup | None:
    if value is None or isinstance(value, bool) or op is Op.NE:
        return None
    key = _key_of(value)
    kind = key[0]
    span = (kind, key) if op in {Op.LT, Op.LE} else (key, _after_all_with(kind))
    return Lookup(frozenset(), frozenset({span}))


def _containing(value: Value) -> Sequence[Lookup]:
    """Return a lookup for each of the longest words: they are likely to be the rarest."""
    words = dict.fromkeys(words_of(value)) if isinstance(value, str) else {}
    if not words:
        return [_equal([value])]
    longest = (word[:_KEY_CHARS] for word in sorted(words, key=len, reverse=True)[:_WORDS_LOOKED_UP])
    return [Lookup(frozenset({_WORD + word, _TEXT + word, ANY_WORD})) for word in longest]


def _after_all_with(start: str) -> str:
    """Return a text that sorts after all texts with this start, by code point.

    If a key equals this text, it is found too, which is harmless.
    """
    while start and ord(start[-1]) == _LAST_CODE_POINT:
        start = start[:-1]
    following = ord(start[-1]) + 1
    return start[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
