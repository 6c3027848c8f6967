"""A recursive descent parser for the text of a condition.

:mod:`app.intake.where_text` has the grammar.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeVar

from app.domain.condition_values import FIELDS, Value, nearest
from app.domain.conditions import (
    MAX_DEPTH,
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
    value_at,
)
from app.domain.times import time_of
from app.errors import InvalidCondition, InvalidField
from app.intake.where_scanner import RESERVED, Quoted, Scanner

OPERATORS = (*(op.value for op in Op), "in", "contains", "exists", "starts")

ROOTS = ("data", "metadata")
"""The first keys that say which document the others lead into."""

_MEANT = {"==": "=", "<>": "!=", "=>": ">=", "=<": "<="}  # difflib doesn't guess these
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_MOST_DIGITS = 20  # 64 bits and the sign; Python's time is quadratic in the number of digits
_LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:T[\d:.]*(?:Z|[+-][\d:]*)?)?", re.ASCII | re.IGNORECASE)
_TOLD_CHARS = 40

T = TypeVar("T")


class Parser:
    """Parses one text, once. Invalid text raises :class:`~app.errors.InvalidCondition`."""

    def __init__(self, text: str) -> None:
        self._scanner = Scanner(text)
        self._levels = 0  # how many negations and brackets are open

    def whole_condition(self) -> Condition:
        """Parse the whole text as a condition."""
        found = self._condition()
        if not self._scanner.at_end:
            raise self._unexpected("'and', 'or' or the end")
        return found

    def whole_path(self) -> Path:
        """Parse the whole text as a path."""
        found = self._path()
        if not self._scanner.at_end:
            raise self._scanner.refusal(f"expected the end of the path, not {self._scanner.peek_shown()}")
        return found

    def _condition(self) -> Condition:
        start, parts = self._scanner.place, [self._conjunction()]
        while self._scanner.take_keyword("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else self._made(start, lambda: Or(tuple(parts)))

    def _conjunction(self) -> Condition:
        start, parts = self._scanner.place, [self._negation()]
        while self._scanner.take_keyword("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else self._made(start, lambda: And(tuple(parts)))

    def _negation(self) -> Condition:
        start = self._scanner.place
        if self._scanner.take_keyword("not"):
            self._open(start)
            part = self._negation()
            self._levels -= 1
            return self._made(start, lambda: Not(part))
        if self._scanner.take("("):
            self._open(start)
            part = self._condition()
            if not self._scanner.take(")"):
                raise self._unexpected("'and', 'or' or ')'")
            self._levels -= 1
            return part
        return self._leaf()

    def _open(self, place: int) -> None:
        self._levels += 1
        if self._levels > MAX_DEPTH:
            raise self._scanner.refusal(f"'not' and brackets are nested at most {MAX_DEPTH} deep", place)

    def _leaf(self) -> Leaf:
        start = self._scanner.place
        path = self._path()
        at_operator = self._scanner.place
        operator = self._scanner.find_operator()
        match operator:
            case "exists":
                return self._made(start, lambda: Exists(path))
            case "in":
                values = self._values(path)
                return self._made(start, lambda: In(path, values))
            case "contains":
                value = self._value(path)
                return self._made(start, lambda: Contains(path, value))
            case "starts":
                text = self._value(path)
                return self._made(start, lambda: Starts(path, text))  # type: ignore[arg-type]  # Starts checks it
            case "=" | "!=" | "<" | "<=" | ">" | ">=":
                value = self._value(path)
                return self._made(start, lambda: Compare(path, Op(operator), value))
        raise self._unknown_operator(operator, at_operator)

    def _path(self) -> Path:
        start, keys, quoted = self._scanner.place, list[str](), False
        while True:
            place = self._scanner.place
            key = self._scanner.find_key()
            if key is None:
                what = "a field or a path" if not keys else "a key"
                raise self._scanner.refusal(f"expected {what}, not {self._scanner.peek_shown()}", place)
            quoted |= isinstance(key, Quoted)
            keys.append(key.text if isinstance(key, Quoted) else key)
            if not self._scanner.take_dot():
                break
        if len(keys) > 1 and keys[0] in ROOTS:
            root = InData if keys[0] == "data" else InMetadata
            return self._made(start, lambda: root(tuple(keys[1:])))
        if len(keys) == 1:
            if keys[0] in FIELDS:
                return Field(keys[0])
            self._refuse_bare(keys[0], quoted, start)
        return self._made(start, lambda: InData(tuple(keys)))

    def _refuse_bare(self, key: str, quoted: bool, place: int) -> None:
        if key in ROOTS:
            raise self._scanner.refusal(
                f"{key} needs a key after it; write {key}.NAME, or data.{key} for a key named {key}", place
            )
        if not quoted and key.lower() in RESERVED:
            raise self._scanner.refusal(
                f"expected a field or a path, not {key!r}; write a key with that name in quotes", place
            )

    def _values(self, path: Path) -> tuple[Value, ...]:
        if not self._scanner.take("("):
            raise self._scanner.refusal(f"expected '(' and values after 'in', not {self._scanner.peek_shown()}")
        values = [self._value(path)]
        while self._scanner.take(","):
            values.append(self._value(path))
        if not self._scanner.take(")"):
            raise self._unexpected("',' or ')'")
        return tuple(values)

    def _value(self, path: Path) -> Value:
        place = self._scanner.place
        literal = self._scanner.find_literal()
        if literal is None:
            raise self._scanner.refusal(f"expected a value, not {self._scanner.peek_shown()}")
        value = literal.text if isinstance(literal, Quoted) else self._unquoted(literal, place)
        return self._made(place, lambda: value_at(path, value))

    def _unquoted(self, word: str, place: int) -> Value:
        if word.lower() in _CONSTANTS:
            return _CONSTANTS[word.lower()]
        if word.lower() in RESERVED:
            raise self._scanner.refusal(f"expected a value, not {word!r}; write that text in quotes", place)
        if number := _NUMBER.fullmatch(word):
            if number[1] or number[2]:
                return float(word)
            if len(word) > _MOST_DIGITS:
                raise self._scanner.refusal(
                    "an integer has at most 64 bits; write a longer one as a text, in quotes", place
                )
            return int(word)
        if not _LIKE_A_TIME.fullmatch(word):
            return word
        moment = time_of(word)
        if moment is None:
            raise self._scanner.refusal(
                f"{word[:_TOLD_CHARS]!r} isn't a valid time; write a time as 2025-01-31 or 2025-01-31T08:30:00Z, and a text "
                "that looks like a time in quotes",
                place,
            )
        return moment

    def _unknown_operator(self, found: str | None, place: int) -> InvalidCondition:
        known = ", ".join(OPERATORS)
        if found is None:
            shown = self._scanner.peek_shown()
            return self._scanner.refusal(f"expected an operator, not {shown}; there are {known}", place)
        if found == "not":
            return self._scanner.refusal("expected an operator, not 'not'; write it before the path", place)
        if found in _MEANT:
            problem = f"did you mean {_MEANT[found]!r}? There are {known}"
        else:
            problem = nearest(found, OPERATORS)
        return self._scanner.refusal(f"there is no operator {found[:_TOLD_CHARS]!r}; {problem}", place)

    def _unexpected(self, expected: str) -> InvalidCondition:
        shown, word = self._scanner.peek_shown(), self._scanner.peek_word()
        near = () if word is None else get_close_matches(word[:_TOLD_CHARS].lower(), ("and", "or"), n=1)
        if self._scanner.at_end or shown == repr(")"):
            hint = ""
        elif near:
            hint = f"; did you mean {near[0]!r}?"
        elif word is not None:
            hint = "; write a text of several words in quotes"
        else:
            hint = "; write a text with these characters in quotes"
        return self._scanner.refusal(f"expected {expected}, not {shown}{hint}")

    def _made(self, place: int, make: Callable[[], T]) -> T:
        try:
            return make()
        except InvalidField as error:
            raise self._scanner.refusal(error.reason, place) from None
