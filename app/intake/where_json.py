"""Conditions on facts as JSON, for programs.

``{"and": [...]}`` and ``{"or": [...]}`` join one or more conditions, and ``{"not": {...}}`` negates
one. A leaf is ``{"path": "price.amount", "op": ">=", "value": 100}``. Its path is written as in
:mod:`app.intake.where_text`, and its ``op`` is one of ``= != < <= > >= in contains exists starts``.
``in`` takes a list of ``values`` instead of ``value``, and ``exists`` takes neither. A value is a
string, a number, ``true``, ``false`` or ``null``, or a time: ``{"time": "2025-01-31"}``.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from app.domain.condition_values import Value, described, nearest
from app.domain.conditions import (
    MAX_DEPTH,
    MAX_TERMS,
    And,
    Compare,
    Condition,
    Contains,
    Exists,
    In,
    Leaf,
    Not,
    Op,
    Or,
    Path,
    Starts,
    value_at,
)
from app.domain.times import time_of, write_time
from app.errors import InvalidField
from app.intake.where_parser import OPERATORS
from app.intake.where_text import parse_path, write_path

_JOINS = ("and", "or", "not")
_LEAF = ("path", "op", "value", "values")
_EXAMPLE = '{"path": "price.amount", "op": ">=", "value": 100}'
_TOLD_CHARS = 60
_PLACE_CHARS = 90

T = TypeVar("T")


def parse_where_json(value: object) -> Condition:
    """Parse a condition from a value decoded from JSON.

    Raises:
        InvalidField: it isn't a condition, or exceeds a bound. ``field`` is the place, such as
            ``where.and[2].op``.
    """
    return _condition(value, "where", 1)


def write_where_json(condition: Condition) -> dict[str, Any]:
    """Return the condition as JSON, which parses to the same condition."""
    match condition:
        case And(parts):
            return {"and": [write_where_json(part) for part in parts]}
        case Or(parts):
            return {"or": [write_where_json(part) for part in parts]}
        case Not(part):
            return {"not": write_where_json(part)}
        case leaf:
            return {"path": write_path(leaf.where), **_written_leaf(leaf)}


def _written_leaf(leaf: Leaf) -> dict[str, Any]:
    match leaf:
        case Compare(_, op, value):
            return {"op": op.value, "value": _written_value(value)}
        case In(_, values):
            return {"op": "in", "values": [_written_value(value) for value in values]}
        case Contains(_, value):
            return {"op": "contains", "value": _written_value(value)}
        case Exists():
            return {"op": "exists"}
        case Starts(_, text):
            return {"op": "starts", "value": text}


def _condition(value: object, place: str, depth: int) -> Condition:
    members = _object(value, place)
    if depth > MAX_DEPTH:
        raise _refused(place, f"is nested more than {MAX_DEPTH} deep")
    joins = [join for join in _JOINS if join in members]
    if not joins:
        return _leaf(members, place)
    join = joins[0]
    if len(members) > 1:
        other = next(name for name in members if name != join)
        raise _refused(
            place, f"has {join!r} and {other!r:.{_TOLD_CHARS}}; write them as two conditions, joined by and"
        )
    inside = f"{place}.{join}"
    if join == "not":
        part = _condition(members[join], inside, depth + 1)
        return _made(place, lambda: Not(part))
    parts = _parts(members[join], inside, depth + 1)
    if len(parts) == 1:
        return parts[0]
    return _made(place, lambda: And(parts) if join == "and" else Or(parts))


def _parts(value: object, place: str, depth: int) -> tuple[Condition, ...]:
    parts = _list(value, place, "conditions")
    return tuple(_condition(part, f"{place}[{number}]", depth) for number, part in enumerate(parts))


def _leaf(members: Mapping[str, object], place: str) -> Leaf:
    for name in members:
        if name not in _LEAF:
            raise _refused(
                f"{place}.{name!s:.{_TOLD_CHARS}}", f"is unknown; {nearest(str(name), (*_LEAF, *_JOINS))}"
            )
    path = _path(_member(members, "path", place), f"{place}.path")
    op = _op(_member(members, "op", place), f"{place}.op")
    takes = {"in": "values", "exists": None}.get(op, "value")
    for name in ("value", "values"):
        if name in members and name != takes:
            way_out = "takes no value" if takes is None else f"takes {takes!r}"
            raise _refused(f"{place}.{name}", f"doesn't go with {op}, which {way_out}")
    if takes is None:
        return _made(place, lambda: Exists(path))
    given, inside = _member(members, takes, place), f"{place}.{takes}"
    if takes == "values":
        values = tuple(
            _value(each, path, f"{inside}[{number}]")
            for number, each in enumerate(_list(given, inside, "values"))
        )
        return _made(place, lambda: In(path, values))
    value = _value(given, path, inside)
    return _made(inside, lambda: _compared(path, op, value))


def _compared(path: Path, op: str, value: Value) -> Leaf:
    match op:
        case "contains":
            return Contains(path, value)
        case "starts":
            return Starts(path, value)  # type: ignore[arg-type]  # Starts checks the type
    return Compare(path, Op(op), value)


def _path(value: object, place: str) -> Path:
    if not isinstance(value, str):
        raise _refused(place, f'must be a string, such as "price.amount", not {described(value)}')
    return _made(place, lambda: parse_path(value))


def _op(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _refused(place, f'must be a string, such as ">=", not {described(value)}')
    if value in OPERATORS:
        return value
    raise _refused(place, f"there is no operator {value[:_TOLD_CHARS]!r}; {nearest(value, OPERATORS)}")


def _value(value: object, path: Path, place: str) -> Value:
    if isinstance(value, dict):
        moment = time_of(value["time"]) if value.keys() == {"time"} and isinstance(value["time"], str) else None
        if moment is None:
            raise _refused(place, 'must be no object except a time, such as {"time": "2025-01-31T08:30:00Z"}')
        return _made(place, lambda: value_at(path, moment))
    if isinstance(value, list):
        raise _refused(place, "takes no list; write one condition for each, or in with values")
    return _made(place, lambda: value_at(path, value))


def _object(value: object, place: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _refused(place, f"a condition is an object, such as {_EXAMPLE}, not {described(value)}")
    return value


def _list(value: object, place: str, what: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise _refused(place, f"must be a list of {what}, not {described(value)}")
    if not 1 <= len(value) <= MAX_TERMS:
        raise _refused(place, f"takes 1 to {MAX_TERMS:,} {what}, not {len(value):,}")
    return value


def _member(members: Mapping[str, object], name: str, place: str) -> object:
    if name not in members:
        raise _refused(f"{place}.{name}", f"missing; write a condition as in {_EXAMPLE}")
    return members[name]


def _made(place: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except InvalidField as error:
        raise _refused(place, error.reason) from None


def _refused(place: str, reason: str) -> InvalidField:
    """Make an error for a place. A long place is cut at its beginning, as its end says more."""
    return InvalidField(place if len(place) <= _PLACE_CHARS else f"…{place[-_PLACE_CHARS:]}", reason)


def _written_value(value: Value) -> object:
    return {"time": write_time(value)} if isinstance(value, datetime) else value
