"""A reference implementation of conditions in Python, and strategies for conditions and facts."""

import operator
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from app.domain.condition_values import Value
from app.domain.conditions import (
    And,
    Compare,
    Condition,
    Contains,
    Exists,
    Field,
    In,
    InData,
    InMetadata,
    Leaf,
    Not,
    Op,
    Or,
    Path,
    Starts,
)
from app.domain.times import time_of

# --- the meaning ----------------------------------------------------------------------------------

_WORD = re.compile(r"[^\W_]+")
_ORDERED: Mapping[Op, Callable[[Any, Any], bool]] = {
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}


@dataclass(frozen=True)
class Fact:
    """A fact as conditions see it; None is absent.

    ``runs`` are the ids of the first and the last run.
    """

    data: dict[str, Any]
    metadata: dict[str, Any] | None = None
    type: str = "fact"
    group: str | None = None
    source: str = "file:a"
    confidence: float | None = None
    created: datetime = field(default=datetime(2025, 1, 1, tzinfo=UTC))
    changed: datetime = field(default=datetime(2025, 1, 1, tzinfo=UTC))
    runs: tuple[str, ...] = ()
    indexed: bool = False


def matches(condition: Condition, fact: Fact) -> bool:
    """Whether the condition holds for the fact."""
    match condition:
        case And(parts):
            return all(matches(part, fact) for part in parts)
        case Or(parts):
            return any(matches(part, fact) for part in parts)
        case Not(part):
            return not matches(part, fact)
        case Compare(where, Op.NE, value):
            return not matches(Compare(where, Op.EQ, value), fact)
        case leaf:
            return any(_fits(leaf, value) for value in led_to(leaf.where, fact))


def led_to(path: Path, fact: Fact) -> Iterator[Any]:
    """All values that a path leads to."""
    match path:
        case Field("run"):
            yield from fact.runs
        case Field(name):
            if (value := getattr(fact, name)) is not None:
                yield value
        case InData(keys):
            yield from _followed(fact.data, keys)
        case InMetadata(keys):
            yield from _followed(fact.metadata, keys)


def _followed(value: Any, keys: tuple[str, ...]) -> Iterator[Any]:
    here = [value]
    for key in keys:
        here = [each[key] for each in _with_elements(here) if isinstance(each, dict) and key in each]
    yield from _with_elements(here)


def _with_elements(values: list[Any]) -> list[Any]:
    """The values, and the elements of arrays among them."""
    return [inner for value in values for inner in [value, *(value if isinstance(value, list) else [])]]


def _fits(leaf: Leaf, found: Any) -> bool:
    match leaf:
        case Exists():
            return True
        case Compare(_, op, value):
            return _compares(op, found, value)
        case In(_, values):
            return any(_equal(found, value) for value in values)
        case Starts(_, text):
            return isinstance(found, str) and found.startswith(text)
        case Contains(_, value) if isinstance(found, list):
            return any(_equal(each, value) for each in found)
        case Contains(_, value):
            return isinstance(found, str) and isinstance(value, str) and _has_words(found, value)


def _compares(op: Op, found: Any, value: Value) -> bool:
    if op is Op.EQ:
        return _equal(found, value)
    pair = _comparable(found, value)
    return pair is not None and _ORDERED[op](*pair)


def _equal(found: Any, value: Value) -> bool:
    if value is None or isinstance(value, bool):
        return found is value
    return (pair := _comparable(found, value)) is not None and pair[0] == pair[1]


def _comparable(found: Any, value: Value) -> tuple[Any, Any] | None:
    """Both values as one ordered type; None if there is none."""
    if isinstance(value, datetime):
        moment = time_of(found) if isinstance(found, str) else found
        return (moment, value) if isinstance(moment, datetime) else None
    if isinstance(value, str):
        return (found, value) if isinstance(found, str) else None
    numbers = not isinstance(found, bool) and isinstance(found, int | float)
    return (Decimal(repr(found)), Decimal(repr(value))) if numbers else None


def _has_words(text: str, wanted: str) -> bool:
    words, run = _words(text), _words(wanted)
    return bool(run) and any(words[at : at + len(run)] == run for at in range(len(words)))


def _words(text: str) -> list[str]:
    return ["".join(map(_small, word)) for word in _WORD.findall(text)]


def _small(character: str) -> str:
    """The character with its case folded, if that is one character."""
    return next((each for each in (character.casefold(), character.lower()) if len(each) == 1), character)


# --- what to draw ---------------------------------------------------------------------------------


def _nfc(text: str) -> str:
    """Normalize a text as it is stored."""
    return unicodedata.normalize("NFC", text)


RUNS = tuple(str(UUID(int=number)) for number in (1, 2, 3))
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_COMMON_KEYS = ("a", "b", "a.b", "type", "data", "in", "with blank", 'with "quotes"', "é", "", "0", "\\")
_COMMON_TEXTS = (
    "",
    "red",
    "Red wine",
    "dark red, sweet",
    "RED",
    "Straße",
    "STRASSE",
    "é",
    "1",
    "true",
    "null",
    "2025-01-01",
    "2025-01-01T00:00:00Z",
    "2025-01-01T01:00:00+01:00",
    "2025-01-01 00:00",
    "2025-02-30",
    "2025-01-01T00:00:00.000001",
    "%",
    "_",
    ".*",
    "[a-z]+(",
    "\\",
    '"',
    "'",
    "a\nb",
    "\U0001f9ea",
    "\uffff",
)
_COMMON_NUMBERS = (
    0,
    1,
    -1,
    1.0,
    0.5,
    -0.0,
    2**53,
    2**53 + 1,
    float(2**53),
    2**63 - 1,
    -(2**63),
    2.0**63,
    1e300,
    5e-324,
)
_COMMON_TIMES = (
    datetime(2025, 1, 1, tzinfo=UTC),
    datetime(2024, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2025, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2025, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    datetime(1, 1, 1, tzinfo=UTC),
)

keys = st.sampled_from(_COMMON_KEYS) | st.text(_CHARACTERS, max_size=5).map(_nfc)
texts = st.sampled_from(_COMMON_TEXTS) | st.text(_CHARACTERS, max_size=12).map(_nfc)
numbers = (
    st.sampled_from(_COMMON_NUMBERS)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
times = st.sampled_from(_COMMON_TIMES) | st.datetimes(timezones=st.just(UTC))
scalars = texts | numbers | st.none() | st.booleans()
values = scalars | times
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(keys, json_values, max_size=4)
"""Objects like a fact's data; many of them have the common keys and values."""

_key_paths = st.lists(keys, min_size=1, max_size=3).map(tuple)
_paths = _key_paths.map(InData) | _key_paths.map(InMetadata)
_run_ids = st.sampled_from(RUNS)
_ordered = st.sampled_from(list(Op))
_equality = st.sampled_from([Op.EQ, Op.NE])


def _comparisons(
    where: st.SearchStrategy[Any], given: st.SearchStrategy[Any], ops: Any
) -> st.SearchStrategy[Leaf]:
    return st.builds(Compare, where, ops, given) | st.builds(
        In, where, st.lists(given, min_size=1, max_size=3).map(tuple)
    )


_text_fields = st.sampled_from(["type", "group", "source"]).map(Field)
_time_fields = st.sampled_from(["created", "changed"]).map(Field)
_fields = _text_fields | _time_fields | st.sampled_from(["confidence", "run", "indexed"]).map(Field)
leaves: st.SearchStrategy[Leaf] = st.one_of(
    _comparisons(_paths, texts | numbers | times, _ordered),
    _comparisons(_paths, values, _equality),
    st.builds(Contains, _paths, values),
    st.builds(Starts, _paths | _text_fields, texts),
    st.builds(Exists, _paths | _fields),
    _comparisons(_text_fields, texts, _ordered),
    st.builds(Contains, _text_fields, texts),
    _comparisons(st.just(Field("confidence")), numbers, _ordered),
    _comparisons(_time_fields, times, _ordered),
    _comparisons(st.just(Field("run")), _run_ids, _equality),
    _comparisons(st.just(Field("indexed")), st.booleans(), _equality),
)


def _joined(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(And, parts) | st.builds(Or, parts) | st.builds(Not, inner)


conditions: st.SearchStrategy[Condition] = st.recursive(leaves, _joined, max_leaves=6)
"""Conditions of every kind."""

facts: st.SearchStrategy[Fact] = st.builds(
    Fact,
    data=json_objects,
    metadata=st.none() | json_objects,
    type=texts,
    group=st.none() | texts,
    source=texts,
    confidence=st.none() | st.floats(0, 1),
    created=times,
    changed=times,
    runs=st.lists(_run_ids, max_size=2).map(tuple),
    indexed=st.booleans(),
)
"""Facts for which many of the conditions hold."""


def cases() -> st.SearchStrategy[tuple[Condition, Fact]]:
    """A condition and a fact; half of the leaves are about values of the fact or similar ones."""
    return facts.flatmap(lambda fact: st.tuples(_conditions_near(fact), st.just(fact)))


def _conditions_near(fact: Fact) -> st.SearchStrategy[Condition]:
    spots = [
        (root(keys), value)
        for root, document in ((InData, fact.data), (InMetadata, fact.metadata))
        for keys, value in _spots(document, ())
        if keys
    ]
    near = st.sampled_from(spots).flatmap(lambda spot: _leaves_near(*spot)) if spots else leaves
    return st.recursive(near | leaves, _joined, max_leaves=6)


def _spots(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value inside a value, with the keys to it, also through nested arrays."""
    yield path, value
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _spots(member, (*path, key))
    elif isinstance(value, list):
        for element in value:
            yield from _spots(element, path)


def _leaves_near(path: Path, value: Any) -> st.SearchStrategy[Leaf]:
    where = st.just(path)
    found: st.SearchStrategy[Leaf] = st.builds(Exists, where) | st.builds(Compare, where, _equality, values)
    if isinstance(value, dict | list):
        return found
    same = st.just(value)
    found |= st.builds(Compare, where, _equality, same) | st.builds(Contains, where, same)
    found |= st.builds(In, where, st.tuples(values, same))
    if value is None or isinstance(value, bool):
        return found
    near = _near(value)
    found |= st.builds(Compare, where, _ordered, near) | st.builds(In, where, st.tuples(near, near))
    if isinstance(value, str):
        found |= st.builds(Starts, where, near.filter(lambda each: isinstance(each, str)))
        found |= st.builds(Contains, where, near)
    return found


def _near(value: Any) -> st.SearchStrategy[Any]:
    """The value, and others that a careless implementation confuses with it."""
    if isinstance(value, str):
        moment = time_of(value)
        others = [
            value[:1],
            value[:-1],
            value + "x",
            value.upper(),
            value.casefold(),
            *_WORD.findall(value)[:2],
        ]
        at = [] if moment is None else [moment, moment + timedelta(microseconds=1), moment - timedelta(hours=1)]
        return st.sampled_from([value, *others, *at])
    numbers = [value, float(value), value / 2, -value, value - 1, value + 1]
    # A condition refuses integers of more than 64 bits.
    allowed = [each for each in numbers if isinstance(each, float) or -(2**63) <= each < 2**63]
    return st.sampled_from([*allowed, str(value)])
