"""An exact and bounded JSON decoder: no number is rounded, and no member is dropped."""

import json
from collections import Counter
from collections.abc import Sequence

import orjson

from app.errors import InvalidInput

MAX_VALUES = 100_000
"""How many values one text may hold. A parser holds the GIL until it is done: 16 ms for these."""

_DIGITS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else ord(" ") for byte in range(256))  # noqa: PLR2004 - ASCII
_LONG_NUMBER = b"0" * 16
_ESCAPED_QUOTE = rb"\u0022"
_VALUE_SIGNS = (b",", b"[", b"{")
_WINDOW_BYTES = 64 * 2**10


def decode(raw: bytes) -> object:
    """Decode JSON without rounding numbers; NaN, Infinity and a repeated key are rejected.

    Raises:
        InvalidInput: it isn't JSON, with the column and the reason; an object has a key twice; or
            there are more than :data:`MAX_VALUES` values.
    """
    if len(raw) > MAX_VALUES and _holds_more_values(raw, MAX_VALUES):
        raise InvalidInput(f"holds more than {MAX_VALUES:,} values; split it into several parts")
    try:
        # orjson rounds an integer of more than 64 bits to a float; the standard library doesn't.
        # Searching for one by translation is ten times as fast as by a regular expression.
        if _LONG_NUMBER in raw.translate(_DIGITS):
            return _decode_exactly(raw)
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _decode_exactly(raw)
    return value if _has_every_member(value, raw) else _decode_exactly(raw)


def _has_every_member(value: object, raw: bytes) -> bool:
    """Whether orjson dropped no member, by counting quotation marks: each key has at least two.

    The only other way to lose one is an escape that orjson writes shorter. False if unknown.
    """
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested deeper than orjson writes, but not deeper than it reads
        return False
    return raw.count(b'"') == written.count(b'"') and _ESCAPED_QUOTE not in raw


def _holds_more_values(raw: bytes, most: int) -> bool:
    """Whether there are more values than ``most``, by the commas and opening brackets.

    Those in strings don't count. An empty object or array counts too.
    """
    if sum(map(raw.count, _VALUE_SIGNS)) <= most:
        return False
    # Without escapes every quotation mark begins or ends a string.
    text = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    found, in_string = 0, False
    for start in range(0, len(text), _WINDOW_BYTES):
        pieces = text[start : start + _WINDOW_BYTES].split(b'"')
        found += sum(map(b"".join(pieces[in_string::2]).count, _VALUE_SIGNS))
        if found > most:
            return True
        in_string ^= len(pieces) % 2 == 0
    return False


def _decode_exactly(raw: bytes) -> object:
    try:
        return json.loads(
            raw.decode(),
            parse_constant=_refuse_constant,
            object_pairs_hook=_members,
            parse_float=_float,
            parse_int=_int,
        )
    except json.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error.msg} at column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"not UTF-8: byte {raw[error.start]:#04x} at column {error.start + 1}") from None
    except RecursionError:
        raise InvalidInput("nested too deep to be read") from None
    except ValueError:
        raise InvalidInput("not JSON: a number has too many digits") from None


def _float(digits: str) -> float:
    """Call ``float`` from Python code, which lets other threads run in between.

    40,000 numbers of 300 digits take 0.5 s.
    """
    return float(digits)


def _int(digits: str) -> int:
    """Call ``int`` from Python code, for the same reason."""
    return int(digits)


def _members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidInput(f"the key {_twice(pairs)[:100]!r} is twice in one object; keep one of them")
    return members


def _twice(pairs: Sequence[tuple[str, object]]) -> str:
    [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
    return key


def _refuse_constant(name: str) -> object:
    raise InvalidInput(f"not JSON: {name} isn't a JSON number")
