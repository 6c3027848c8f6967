r"""Conditions on facts as a person writes them.

The grammar, whose words may be written in capitals, with blanks wherever they help::

    condition   = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" condition ")" | leaf
    leaf        = path ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
                | path "in" "(" value { "," value } ")"
                | path "contains" value
                | path "starts" value
                | path "exists"
    path        = key { "." key }

A path of one key that names a field of the fact's own (``type``, ``confidence`` …) is that field. Any other leads into
the data. ``data.type`` and ``metadata.page`` say so themselves. A key with a blank, a dot or another sign of the grammar
in it is written in quotes, as in ``a."b.c"``, and so is one that is a word of the grammar. Quotes change nothing else.

A value in quotes, double or single, is a text, with the escapes of JSON. Without quotes it is a number as JSON writes
it, a time such as ``2025-01-31`` or ``2025-01-31T08:30:00Z``, ``true``, ``false`` or ``null``, and else a text of one word.
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
"""How long the text of a condition may be. The API reads it on the event loop, which it holds for 30 ms at most."""

_INDEXES = "database.data_indexes"
_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*")


def parse_where(text: str) -> Condition:
    """The condition that a text spells, in a time that grows with the text alone.

    Raises:
        InvalidField: it spells none, or passes a bound. It is an
            :class:`~app.errors.InvalidCondition`, which names the place, unless the text itself is
            too long.
    """
    return Parser(_bounded(text)).whole_condition()


def parse_all(texts: Sequence[str]) -> Condition | None:
    """That all of the texts' conditions hold; None for no text.

    Raises:
        InvalidField: one spells none, or they are too long together; as of :func:`parse_where`.
    """
    _bounded("".join(texts))
    parts = tuple(map(parse_where, texts))
    return And(parts) if len(parts) > 1 else parts[0] if parts else None


def parse_path(text: str) -> Path:
    """The field or the path that a text spells.

    Raises:
        InvalidField: it spells none, or passes a bound; as of :func:`parse_where`.
    """
    return Parser(_bounded(text)).whole_path()


def parse_index_paths(texts: Sequence[str]) -> tuple[str, ...]:
    """The paths that ``database.data_indexes`` names, each once, as :func:`write_path` writes them.

    Raises:
        InvalidField: one spells none, or a field of a fact's own.
    """
    found = list[str]()
    for given in texts:
        try:
            path = parse_path(given)
        except InvalidField as error:
            raise InvalidField(_INDEXES, f"{given!r:.100}: {error.reason}") from None
        if isinstance(path, Field):
            reason = f"{given} is a field of a fact's own, not of its data; write data.{given} if that is meant"
            raise InvalidField(_INDEXES, reason)
        found.append(write_path(path))
    return tuple(dict.fromkeys(found))


def parse_order(text: str) -> Order:
    """The order that a text spells: a path, after a minus if it is down.

    Raises:
        InvalidField: it spells none.
    """
    try:
        return Order(parse_path(text.removeprefix("-")), text.startswith("-"))
    except InvalidField as error:
        raise InvalidField("sort", error.reason) from None


def write_order(order: Order) -> str:
    """The text of an order, which parses to the same order."""
    return f"{'-' if order.descending else ''}{write_path(order.by)}"


def write_where(condition: Condition) -> str:
    """The text of a condition, with no more brackets than help to read it.

    It parses to the same condition, unless it is longer than :data:`MAX_CHARS`: 1,000 long texts
    are.
    """
    return "".join(_pieces(condition))


def write_path(path: Path) -> str:
    """The text of a path, which parses to the same path."""
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
        return repr(value)  # which keeps every digit, and a point or an exponent
    return orjson.dumps(value).decode()
