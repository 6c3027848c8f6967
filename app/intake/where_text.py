r"""Conditions on facts as text, for people.

The grammar is as follows. Its words may be in any case, and blanks may separate tokens::

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" condition ")" | leaf
    leaf        = path ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
                | path "in" "(" value { "," value } ")"
                | path "contains" value
                | path "starts" value
                | path "exists"
    path        = key { "." key }

A path of one key that names a field of the fact itself (``type``, ``confidence`` and so on) is that
field. Any other path leads into the data. ``data.type`` and ``metadata.page`` are explicit. A key
needs quotes, as in ``a."b.c"``, if it has a blank, a dot or another sign of the grammar in it, or
is a word of the grammar. Quotes change nothing else.

A value in double or single quotes is a text, with the escapes of JSON. Without quotes, it is a
number as in JSON, a time such as ``2025-01-31`` or ``2025-01-31T08:30:00Z``, ``true``, ``false`` or
``null``, or else a text of one word.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

import orjson

from app.domain.condition_values import FIELDS, Value
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
    Not,
    Or,
    Path,
    Starts,
)
from app.domain.ordering import Order
from app.domain.times import write_time
from app.errors import InvalidField
from app.intake.where_parser import ROOTS, Parser
from app.intake.where_scanner import RESERVED

MAX_CHARS = 20_000
"""How long the text of a condition may be.

The API parses it on the event loop, which it blocks for 30 ms at most.
"""

_INDEXES = "database.data_indexes"
_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*")


def parse_where(text: str) -> Condition:
    """Parse a condition, in time linear in the length of the text.

    Raises:
        InvalidField: the text isn't a condition, or exceeds a bound. The error is an
            :class:`~app.errors.InvalidCondition`, which names the place, unless the text is too
            long.
    """
    return Parser(_bounded(text)).whole_condition()


def parse_all(texts: Sequence[str]) -> Condition | None:
    """Parse several conditions and join them by ``and``; None if there are none.

    Raises:
        InvalidField: one is invalid, as in :func:`parse_where`, or they are too long together.
    """
    _bounded("".join(texts))
    parts = tuple(map(parse_where, texts))
    return And(parts) if len(parts) > 1 else parts[0] if parts else None


def parse_path(text: str) -> Path:
    """Parse a field or a path.

    Raises:
        InvalidField: the text is invalid, as in :func:`parse_where`.
    """
    return Parser(_bounded(text)).whole_path()


def parse_index_paths(texts: Sequence[str]) -> tuple[str, ...]:
    """Parse the paths in ``database.data_indexes``; return each once, as by :func:`write_path`.

    Raises:
        InvalidField: one isn't a path, or is a field of the fact itself.
    """
    found = list[str]()
    for given in texts:
        try:
            path = parse_path(given)
        except InvalidField as error:
            raise InvalidField(_INDEXES, f"{given!r:.100}: {error.reason}") from None
        if isinstance(path, Field):
            reason = f"{given} is a field of the fact itself, not of its data; write data.{given} for a key in the data"
            raise InvalidField(_INDEXES, reason)
        found.append(write_path(path))
    return tuple(dict.fromkeys(found))


def parse_order(text: str) -> Order:
    """Parse an order: a path, with a minus before it for descending order.

    Raises:
        InvalidField: the text isn't an order.
    """
    try:
        return Order(parse_path(text.removeprefix("-")), text.startswith("-"))
    except InvalidField as error:
        raise InvalidField("sort", error.reason) from None


def write_order(order: Order) -> str:
    """Return the text of an order, which parses to the same order."""
    return f"{'-' if order.descending else ''}{write_path(order.by)}"


def write_where(condition: Condition) -> str:
    """Return the text of a condition, without superfluous brackets.

    It parses to the same condition, unless it is longer than :data:`MAX_CHARS`, as with 1,000 long
    values.
    """
    return "".join(_pieces(condition))


def write_path(path: Path) -> str:
    """Return the text of a path, which parses to the same path."""
    match path:
        case Field(name):
            return name
        case InMetadata(keys):
            return ".".join(["metadata", *map(_written_key, keys)])
        case InData(keys):
            told = keys[0] in ROOTS or (len(keys) == 1 and keys[0] in FIELDS)
            return ".".join([*(["data"] if told else []), *map(_written_key, keys)])


def _bounded(text: str) -> str:
    if len(text) > MAX_CHARS:
        raise InvalidField("where", f"has {len(text):,} characters; at most {MAX_CHARS:,} are allowed")
    return text


def _pieces(condition: Condition) -> Iterator[str]:
    match condition:
        case And(parts):
            yield from _joined(parts, " and ", (And, Or))
        case Or(parts):
            yield from _joined(parts, " or ", (Or,))
        case Not(part):
            yield "not "
            yield from _pieces(part) if isinstance(part, Not) else _bracketed(part)
        case Compare(where, op, value):
            yield f"{write_path(where)} {op} {_written_value(value)}"
        case In(where, values):
            yield f"{write_path(where)} in ({', '.join(map(_written_value, values))})"
        case Contains(where, value):
            yield f"{write_path(where)} contains {_written_value(value)}"
        case Exists(where):
            yield f"{write_path(where)} exists"
        case Starts(where, text):
            yield f"{write_path(where)} starts {_written_value(text)}"


def _joined(parts: tuple[Condition, ...], word: str, looser: tuple[type, ...]) -> Iterator[str]:
    for number, part in enumerate(parts):
        if number:
            yield word
        yield from _bracketed(part) if isinstance(part, looser) else _pieces(part)


def _bracketed(condition: Condition) -> Iterator[str]:
    yield "("
    yield from _pieces(condition)
    yield ")"


def _written_key(key: str) -> str:
    plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in RESERVED
    return key if plain else orjson.dumps(key).decode()


def _written_value(value: Value) -> str:
    if isinstance(value, datetime):
        return write_time(value)
    if isinstance(value, float):
        return repr(value)  # keeps every digit, and a point or an exponent
    return orjson.dumps(value).decode()
