"""The values, texts, keys and fields that conditions of a filter may compare."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from types import MappingProxyType

from app.domain.ids import is_id
from app.domain.items import MOST_DECOMPOSED
from app.domain.normal_form import composed
from app.domain.times import in_utc, write_time
from app.errors import InvalidField

Value = str | int | float | bool | datetime | None
"""A value to compare with. A time is in UTC."""

MAX_TEXT_CHARS = 10_000
"""The longest text to compare with, and the longest key, counted in NFC."""

MAX_KEYS = 64
"""How many keys a path may have. SQLite joins no more tables than that."""

INEXACT = 10**16
"""From this number on, a float's value isn't always what its digits say."""

_INT64 = 2**63
_SHOWN_CHARS = 60


class Kind(Enum):
    """The kind of value that a field of a fact holds, for messages."""

    TEXT = "a text"
    NUMBER = "a number"
    TIME = "a time, such as 2025-01-31"
    RUN = "the id of a run"
    FLAG = "true or false"


FIELDS: Mapping[str, Kind] = MappingProxyType(
    {
        "type": Kind.TEXT,
        "group": Kind.TEXT,
        "source": Kind.TEXT,
        "confidence": Kind.NUMBER,
        "created": Kind.TIME,
        "changed": Kind.TIME,
        "run": Kind.RUN,
        "indexed": Kind.FLAG,
    }
)
"""The fields of a fact itself.

``source`` is the URI. ``run`` is each of the runs that asserted the fact first or last.
"""


def nearest(name: str, known: Sequence[str]) -> str:
    """Say which known name is nearest to an unknown one, if one is near, and list them all."""
    found = get_close_matches(name[:_SHOWN_CHARS].lower(), known, n=1)
    return f"{f'did you mean {found[0]!r}? There' if found else 'there'} are {', '.join(known)}"


def checked_field(name: object) -> str:
    """Check the name of a field.

    Raises:
        InvalidField: there is no such field.
    """
    if isinstance(name, str) and name in FIELDS:
        return name
    raise InvalidField(
        "where", f"a fact has no field {name!r:.{_SHOWN_CHARS}}; {nearest(str(name), tuple(FIELDS))}"
    )


def checked_keys(keys: object) -> tuple[str, ...]:
    """Check the keys of a path, and put them in NFC.

    Raises:
        InvalidField: there are no keys or too many, or one can't be a key of stored JSON.
    """
    if not isinstance(keys, tuple | list) or not keys:
        raise InvalidField("where", f"a path is one or more keys, not {described(keys)}")
    if len(keys) > MAX_KEYS:
        raise InvalidField("where", f"a path has at most {MAX_KEYS} keys, not {len(keys):,}")
    return tuple(checked_text(key, "a key") for key in keys)


def checked_text(text: object, what: str) -> str:
    """Check a text, and put it in NFC. ``what`` names it in errors.

    Raises:
        InvalidField: it isn't a text, is too long, or can't be in stored JSON.
    """
    if not isinstance(text, str):
        raise InvalidField("where", f"{what} is a text, not {described(text)}; write it in quotes")
    if len(text) <= MOST_DECOMPOSED * MAX_TEXT_CHARS:  # a longer one is too long in every form
        if "\0" in text:
            raise InvalidField("where", f"{what} contains the character U+0000, which no fact contains")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidField(
                "where", f"{what} contains half a surrogate pair, which isn't a character"
            ) from None
        text = composed(text, "where")
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidField(
            "where", f"{what} has {len(text):,} characters; at most {MAX_TEXT_CHARS:,} are allowed"
        )
    return text


def checked_value(value: object) -> Value:
    """Check a value; put a text in NFC and a time in UTC. A ``date`` becomes its midnight.

    Raises:
        InvalidField: nothing can be compared with the value.
    """
    match value:
        case None | bool():
            return value
        case str():
            return checked_text(value, "a text")
        case int() if not -_INT64 <= value < _INT64:
            raise InvalidField(
                "where", "an integer has at most 64 bits; write a longer one as a text, in quotes"
            )
        case float() if not math.isfinite(value):
            raise InvalidField("where", f"a number is finite, not {value}")
        case int() | float():
            return value
        case date():
            return _checked_time(value)
    raise InvalidField(
        "where", f"a value is a text, a number, true, false, null or a time, not {described(value)}"
    )


def _checked_time(value: date) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    try:
        return in_utc(moment)
    except OverflowError:
        raise InvalidField("where", f"{value} is outside the years 1 to 9999 in UTC") from None


def value_of_field(name: str, value: Value) -> Value:
    """Return the value in the form that the field has it.

    Raises:
        InvalidField: the field never has a value like that, so a comparison would never hold.
    """
    if value is None:
        raise InvalidField("where", f"{name} is never null; write not ({name} exists) for facts without one")
    kind = FIELDS[name]
    if kind is Kind.RUN and isinstance(value, str):
        value = value.lower()
    if not _FITS[kind](value):
        quote = "; write it in quotes" if kind is Kind.TEXT else ""
        raise InvalidField("where", f"{name} is {kind.value}, and never {described(value)}{quote}")
    return value


_FITS: Mapping[Kind, Callable[[Value], bool]] = {
    Kind.TEXT: lambda value: isinstance(value, str),
    Kind.NUMBER: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    Kind.TIME: lambda value: isinstance(value, datetime),
    Kind.RUN: is_id,
    Kind.FLAG: lambda value: isinstance(value, bool),
}


def described(value: object) -> str:
    """Write a value for a message, cut short. Of an object or a list, only the kind is named."""
    if isinstance(value, datetime):
        return f"the time {write_time(value)}"
    if isinstance(value, str):
        return f"the text {value[:_SHOWN_CHARS]!r}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        long = isinstance(value, int) and abs(value) > _INT64  # Python can't write thousands of digits
        return "an integer of more than 64 bits" if long else f"the number {value}"
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def exact_number(number: float) -> int | float:
    """Return the number that a float's JSON digits spell, if it is an integer of up to 64 bits."""
    if isinstance(number, int) or not INEXACT <= abs(number) <= _INT64:
        return number
    digits = int(Decimal(repr(number)))
    return digits if -_INT64 <= digits < _INT64 else number
