"""Filters on the JSON data of extractions, with the same answers on every dialect.

A *path* names a value inside the data: a tuple of object keys, or the keys joined by dots. Arrays are never
looked into. A *token* is a scalar as it stands in the stored text. All tokens there were written by orjson, so
two values are equal when one's token is among the tokens that equal the other: ``1`` and ``1.0`` do, ``true`` and
``1`` don't, and ``null`` equals only an explicit null. Paths and tokens are always bound parameters.
"""

import math
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, and_, bindparam, case, cast, func, select, true
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import JSON

from app.domain.filters import Path, Scalar, Where
from app.errors import InvalidInput
from app.models import Extraction

MAX_KEYS = 64
"""How many keys a path may have. SQLite joins no more tables than that, and refuses the statement."""

MAX_KEYS_TOGETHER = 1_000
"""How many all paths of one filter may have: each becomes a part of the statement."""

_KEPT_KEYS = 8
_KEPT_CHARS = 1_000

_DATA = Extraction.__table__.c.data


class _Unkept(Grouping[bool]):
    """A condition whose statement isn't kept compiled.

    SQLAlchemy keeps 500 statements, each with the values it first had. Of filters with thousands of keys, 24 took 2 GB.
    """

    inherit_cache = False


def matches(where: Where, dialect: str) -> ColumnElement[bool]:
    """An extraction's data has every value of ``where`` at its path; an empty ``where`` matches all.

    Raises:
        InvalidInput: a path has no key, too many, or isn't text; or a value isn't a finite scalar of at most 64 bits.
    """
    build = _on_postgres if dialect == "postgresql" else _on_sqlite
    wanted = [(_keys(path), value) for path, value in where.items()]
    keys = [key for path, _ in wanted for key in path]
    if len(keys) > MAX_KEYS_TOGETHER:
        raise InvalidInput(
            f"the paths of a data filter have at most {MAX_KEYS_TOGETHER:,} keys, not {len(keys):,}"
        )
    found = and_(true(), *(build(path, value) for path, value in wanted))
    chars = sum(map(len, keys)) + sum(len(value) for _, value in wanted if isinstance(value, str))
    return found if len(keys) <= _KEPT_KEYS and chars <= _KEPT_CHARS else _Unkept(found)


def _on_postgres(keys: tuple[str, ...], value: Scalar) -> ColumnElement[bool]:
    found: ColumnElement[Any] = _DATA
    for key in keys:
        found = found.op("->", return_type=JSON())(bindparam(None, key, Text))
    return cast(found, Text).in_(_tokens(value))


def _on_sqlite(keys: tuple[str, ...], value: Scalar) -> ColumnElement[bool]:
    quoted = [_dump(key) for key in keys]
    tokens = _tokens(value)  # first, because it refuses what no data can hold
    if any("\\" in key for key in quoted):
        return _on_sqlite_by_key(keys, value)
    path = bindparam(None, "$." + ".".join(quoted), Text)
    return _DATA.op("->", return_type=Text())(path).in_(tokens)


def _on_sqlite_by_key(keys: tuple[str, ...], value: Scalar) -> ColumnElement[bool]:
    """For keys with quotes, backslashes or control characters, which SQLite's paths can't say."""
    members: list[TableValuedAlias] = []
    document: ColumnElement[Any] = _DATA
    for _ in keys:
        member = func.json_each(document).table_valued("key", "value", "type", joins_implicitly=True)
        document = case((member.c.type == "object", member.c.value), else_="{}")
        members.append(member)
    conditions = [level.c.key == bindparam(None, key, Text) for level, key in zip(members, keys, strict=True)]
    member = members[-1]
    types, stored = _sqlite_form(value)
    found = member.c.value.is_(None) if stored is None else member.c.value == stored
    return (
        select(1).where(*conditions, member.c.type.in_(types), found).correlate(Extraction.__table__).exists()
    )


def _sqlite_form(value: Scalar) -> tuple[tuple[str, ...], Any]:
    """How ``json_each`` shows a value: the types it may have, and the value."""
    match value:
        case None:
            return ("null",), None
        case bool():
            return ("true" if value else "false",), int(value)
        case str():
            return ("text",), value
        case _:
            return ("integer", "real"), value


def _keys(path: Path) -> tuple[str, ...]:
    keys = tuple(path.split(".", MAX_KEYS)) if isinstance(path, str) else path
    if not keys or any("\0" in key for key in keys):
        raise InvalidInput(f"a data filter's path is one or more keys without NUL, not {path!r:.60}")
    if len(keys) > MAX_KEYS:
        raise InvalidInput(f"a data filter's path has at most {MAX_KEYS} keys: {path!r:.60}")
    for key in keys:
        _dump(key)  # refuses what isn't valid Unicode
    return keys


def _tokens(value: Scalar) -> list[str]:
    """How orjson writes whatever equals ``value``."""
    match value:
        case bool() | None | str():
            return [_dump(value)]
        case int():
            if not -(2**63) <= value < 2**63:
                raise InvalidInput(f"a data filter's number has at most 64 bits: {value}")
            return [str(value), *_zeros(value), *([_dump(float(value))] if float(value) == value else [])]
        case float():
            if not math.isfinite(value):
                raise InvalidInput(f"a data filter's number is finite, not {value}")
            return [_dump(value), *_zeros(value), *([str(int(value))] if value.is_integer() else [])]
    raise InvalidInput(f"a data filter's value is a JSON scalar, not {type(value).__name__}")


def _zeros(value: float) -> list[str]:
    return ["-0.0", "0.0"] if value == 0 else []


def _dump(value: str | float | None) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidInput("a data filter's text is not valid Unicode") from error
