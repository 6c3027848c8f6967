"""Conditions on facts, as plain values: what is looked at, what it is compared with, and how conditions are joined.

What they mean, for everybody who answers them:

- A path is followed through objects by its keys. An array on the way is looked into, so that the path goes on from each
  of its elements, and an array at the end stands for itself and for each of its elements. An array that is itself an
  element of an array isn't looked into. A path may so lead to several values; a leaf holds if it holds for one of them.
- Numbers compare as numbers, exactly, by the digits that JSON has of them (1 equals 1.0, and true doesn't equal 1).
  Texts compare by code point. A time
  compares with a text that spells one; see :func:`app.domain.times.time_of`. Nothing else compares: a leaf doesn't hold
  for a value of another type, and that is no error.
- A field of a fact without a value, such as the group of a source that has none, leads to nothing.
- ``not`` holds exactly where its part doesn't, and so also where the path leads to nothing.

All bounds are checked when a condition is made, and each violation is an :class:`~app.errors.InvalidField` of ``where``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from app.domain.condition_values import (
    FIELDS,
    Kind,
    Value,
    checked_field,
    checked_keys,
    checked_text,
    checked_value,
    told,
    value_of_field,
)
from app.domain.whole_words import words_of
from app.errors import InvalidField

MAX_TERMS = 1_000
"""How many leaves, and values of ``in``, a condition may have in all."""

MAX_DEPTH = 32
"""How deep a condition may be nested. A leaf is 1 deep. SQLite takes no more, with what a leaf needs."""

MAX_WORDS = 20
"""How many words ``contains`` looks for at most."""

MAX_KEYS_TOGETHER = 1_000
"""How many keys all paths of a condition may have. Each becomes a part of a statement."""


class Op(StrEnum):
    """How two values are compared. ``!=`` is the negation of ``=``, and so holds where there is no value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Size(NamedTuple):
    """How large a condition is, in what is bounded."""

    terms: int
    keys: int
    depth: int


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the fact's own: one of :data:`~app.domain.condition_values.FIELDS`."""

    name: str

    def __post_init__(self) -> None:
        checked_field(self.name)


@dataclass(frozen=True, slots=True)
class InData:
    """What a path of keys leads to in the fact's data."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", checked_keys(self.keys))


@dataclass(frozen=True, slots=True)
class InMetadata:
    """What a path of keys leads to in the fact's metadata."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", checked_keys(self.keys))


Path = Field | InData | InMetadata


@dataclass(frozen=True, slots=True)
class _OfPath:
    where: Path

    @property
    def size(self) -> Size:
        """How large it is."""
        return _leaf_size(self.where)


@dataclass(frozen=True, slots=True)
class Compare(_OfPath):
    """The value equals another, is less, and so on. Only numbers, texts and times have an order."""

    op: Op
    value: Value

    def __post_init__(self) -> None:
        try:
            op = Op(self.op)
        except ValueError:
            raise InvalidField("where", f"there is no comparison {self.op!r:.60}") from None
        value = value_at(self.where, self.value)
        if op not in {Op.EQ, Op.NE}:
            if value is None or isinstance(value, bool):
                raise InvalidField(
                    "where", f"{op} compares texts, numbers and times, and {told(value)} is none of them"
                )
            _refuse_at_field(self.where, {Kind.RUN}, "have an order")
        object.__setattr__(self, "op", op)
        object.__setattr__(self, "value", value)


@dataclass(frozen=True, slots=True)
class In(_OfPath):
    """The value equals one of several."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        values: object = self.values
        if not isinstance(values, tuple | list) or not values:
            raise InvalidField("where", "in takes one or more values")
        _require_path(self.where)
        _bounded(self.size)
        object.__setattr__(self, "values", tuple(value_at(self.where, value) for value in self.values))

    @property
    def size(self) -> Size:
        """How large it is."""
        return _leaf_size(self.where, len(self.values))


@dataclass(frozen=True, slots=True)
class Contains(_OfPath):
    """An array has the value as an element, or a text has the words of the value as whole words, in a row.

    Words are those of :mod:`app.domain.whole_words`; 20 at most. A value that isn't a text has
    none, and one that has none is in no text. The path leads to the elements of an array too: one
    that is a text may have the words.
    """

    value: Value

    def __post_init__(self) -> None:
        _refuse_at_field(self.where, {*Kind} - {Kind.TEXT}, "contain anything")
        value = value_at(self.where, self.value)
        if isinstance(value, str) and (words := len(words_of(value))) > MAX_WORDS:
            raise InvalidField("where", f"contains looks for {words:,} words; at most {MAX_WORDS} are allowed")
        object.__setattr__(self, "value", value)


@dataclass(frozen=True, slots=True)
class Exists(_OfPath):
    """The path leads to something; null is something, and so is an empty array."""

    def __post_init__(self) -> None:
        _require_path(self.where)


@dataclass(frozen=True, slots=True)
class Starts(_OfPath):
    """The value is a text that starts with these characters, in upper and lower case as given."""

    text: str

    def __post_init__(self) -> None:
        _refuse_at_field(self.where, {*Kind} - {Kind.TEXT}, "start with a text")
        object.__setattr__(self, "text", checked_text(self.text, "what a text starts with"))


@dataclass(frozen=True, slots=True)
class _Joined:
    parts: "tuple[Condition, ...]"
    size: Size = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _checked_parts(self.parts))
        object.__setattr__(self, "size", _size_of(self.parts))


class And(_Joined):
    """All parts hold. There are two or more."""

    __slots__ = ()


class Or(_Joined):
    """One of the parts holds. There are two or more."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The part doesn't hold."""

    part: "Condition"
    size: Size = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_condition(self.part)
        object.__setattr__(self, "size", _size_of([self.part]))


Leaf = Compare | In | Contains | Exists | Starts
Condition = Leaf | And | Or | Not


def value_at(where: Path, value: object) -> Value:
    """The value as a leaf that compares with it keeps it: a text in NFC, a time in UTC.

    Raises:
        InvalidField: nothing there could equal it.
    """
    _require_path(where)
    checked = checked_value(value)
    return value_of_field(where.name, checked) if isinstance(where, Field) else checked


def leaves(condition: Condition) -> Iterator[Leaf]:
    """All leaves, from left to right."""
    waiting = [condition]
    while waiting:
        match waiting.pop():
            case And(parts) | Or(parts):
                waiting.extend(reversed(parts))
            case Not(part):
                waiting.append(part)
            case leaf:
                yield leaf


def _require_path(where: object) -> None:
    if not isinstance(where, Path):
        raise InvalidField("where", f"a condition looks at a field or a path, not at {told(where)}")


def _refuse_at_field(where: Path, kinds: Iterable[Kind], ability: str) -> None:
    _require_path(where)
    if isinstance(where, Field) and FIELDS[where.name] in kinds:
        raise InvalidField("where", f"{where.name} is {FIELDS[where.name].value}, and doesn't {ability}")


def _checked_parts(parts: object) -> "tuple[Condition, ...]":
    if not isinstance(parts, tuple | list) or len(parts) < 2:  # noqa: PLR2004 - one is itself, and none says nothing
        raise InvalidField("where", "and and or join two conditions or more")
    for part in parts:
        _require_condition(part)
    return tuple(parts)


def _require_condition(part: object) -> None:
    if not isinstance(part, Condition):
        raise InvalidField("where", f"a part of a condition is a condition, not {told(part)}")


def _leaf_size(where: Path, values: int = 0) -> Size:
    return Size(1 + values, 0 if isinstance(where, Field) else len(where.keys), 1)


def _size_of(parts: "Iterable[Condition]") -> Size:
    sizes = [part.size for part in parts]
    terms, keys, depths = zip(*sizes, strict=True)
    return _bounded(Size(sum(terms), sum(keys), 1 + max(depths)))


def _bounded(size: Size) -> Size:
    if size.terms > MAX_TERMS:
        raise InvalidField(
            "where", f"has {size.terms:,} terms (leaves and values of in); at most {MAX_TERMS:,} are allowed"
        )
    if size.keys > MAX_KEYS_TOGETHER:
        raise InvalidField(
            "where", f"its paths have {size.keys:,} keys; at most {MAX_KEYS_TOGETHER:,} are allowed together"
        )
    if size.depth > MAX_DEPTH:
        raise InvalidField("where", f"is nested {size.depth} deep; at most {MAX_DEPTH} are allowed")
    return size
