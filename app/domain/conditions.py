"""Conditions on facts, as plain values: paths, comparisons, and how conditions are joined.

Their meaning is the same in every backend:

- A path follows its keys through objects. At an array on the way, it continues from each element.
  An array at the end stands for itself and for each of its elements. An array inside another array
  isn't looked into. So a path may lead to several values; a leaf holds if it holds for one of them.
- Numbers compare as numbers, exactly, by their digits in JSON (1 equals 1.0, and true doesn't equal
  1). Texts compare by code point. A time compares with a text that spells one; see
  :func:`app.domain.times.time_of`. Nothing else compares: for a value of another type, a leaf
  doesn't hold, and that isn't an error.
- A field of a fact without a value, such as the group of a source that has none, leads to nothing.
- ``not`` holds exactly where its part doesn't, so also where the path leads to nothing.

All bounds are checked when a condition is created. Each violation is an
:class:`~app.errors.InvalidField` of ``where``.
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
    described,
    value_of_field,
)
from app.domain.whole_words import words_of
from app.errors import InvalidField

MAX_TERMS = 1_000
"""How many leaves, and values of ``in``, a condition may have in all."""

MAX_DEPTH = 32
"""How deep a condition may be nested; a leaf is 1 deep.

This is SQLite's limit, less what a leaf needs.
"""

MAX_WORDS = 20
"""How many words ``contains`` may look for."""

MAX_KEYS_TOGETHER = 1_000
"""How many keys the paths of a condition may have in all. Each becomes a part of a statement."""


class Op(StrEnum):
    """A comparison. ``!=`` is the negation of ``=``, so it holds where there is no value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Size(NamedTuple):
    """The size of a condition, in the quantities that are limited."""

    terms: int
    keys: int
    depth: int


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the fact itself: one of :data:`~app.domain.condition_values.FIELDS`."""

    name: str

    def __post_init__(self) -> None:
        checked_field(self.name)


@dataclass(frozen=True, slots=True)
class InData:
    """A path of keys in the fact's data."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", checked_keys(self.keys))


@dataclass(frozen=True, slots=True)
class InMetadata:
    """A path of keys in the fact's metadata."""

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
    """The value compares by ``op`` with another. Only numbers, texts and times have an order."""

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
                    "where", f"{op} compares texts, numbers and times, and {described(value)} is none of them"
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
    """An array has the value as an element, or a text has its words as whole words, in a row.

    Words are those of :mod:`app.domain.whole_words`; 20 at most. A value that isn't a text has no
    words, and no text contains a value without words. The path leads to the elements of an array
    too, so a text in an array may have the words.
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
    """The path leads to a value; null is a value, and so is an empty array."""

    def __post_init__(self) -> None:
        _require_path(self.where)


@dataclass(frozen=True, slots=True)
class Starts(_OfPath):
    """The value is a text that starts with these characters; case matters."""

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
    """Return the value in the form that a leaf keeps: a text in NFC, a time in UTC.

    Raises:
        InvalidField: nothing at that place could equal the value.
    """
    _require_path(where)
    checked = checked_value(value)
    return value_of_field(where.name, checked) if isinstance(where, Field) else checked


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Yield all leaves, from left to right."""
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
        raise InvalidField("where", f"a condition looks at a field or a path, not at {described(where)}")


def _refuse_at_field(where: Path, kinds: Iterable[Kind], ability: str) -> None:
    _require_path(where)
    if isinstance(where, Field) and FIELDS[where.name] in kinds:
        raise InvalidField("where", f"{where.name} is {FIELDS[where.name].value}, and doesn't {ability}")


def _checked_parts(parts: object) -> "tuple[Condition, ...]":
    if not isinstance(parts, tuple | list) or len(parts) < 2:  # noqa: PLR2004 - a join has two parts
        raise InvalidField("where", "and and or join two conditions or more")
    for part in parts:
        _require_condition(part)
    return tuple(parts)


def _require_condition(part: object) -> None:
    if not isinstance(part, Condition):
        raise InvalidField("where", f"a part of a condition is a condition, not {described(part)}")


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
