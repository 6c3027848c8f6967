"""A scanner for the text of a condition. It reads each token once, from left to right."""

import re
from typing import NamedTuple

from app.errors import InvalidCondition

RESERVED = frozenset({"and", "or", "not", "in", "contains", "exists", "starts", "true", "false", "null"})
"""The words of the grammar, in lower case. A key or a text that equals one needs quotes."""

_BLANKS = re.compile(r"\s*")
_WORD = re.compile(r"""[^\s()\[\],=!<>"]+""")
_KEY = re.compile(r"""[^\s()\[\],=!<>".]+""")
_SIGN = re.compile(r"[=!<>]+")
# Possessive quantifiers, so that a text without its closing quote is read only once.
_QUOTED = {
    '"': re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]|\\.)*+)'", re.DOTALL),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {**dict(zip("bfnrt", "\b\f\n\r\t", strict=True)), **{sign: sign for sign in "\"'\\/"}}
_NEAR_CHARS = 20


class Quoted(NamedTuple):
    """A text in quotes."""

    text: str


class Scanner:
    """Reads the tokens of a text in turn.

    ``place`` is where the next token begins, counted from 0, after any blanks. Invalid text raises
    :class:`~app.errors.InvalidCondition`.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.place = 0
        self._move_to(0)

    @property
    def at_end(self) -> bool:
        """Whether the whole text was read."""
        return self.place == len(self._text)

    def take(self, sign: str) -> bool:
        """Read a sign of one character, if it is next."""
        if not self._text.startswith(sign, self.place):
            return False
        self._move_to(self.place + 1)
        return True

    def take_keyword(self, keyword: str) -> bool:
        """Read a word of the grammar in any case, if it is next."""
        found = _WORD.match(self._text, self.place)
        if found is None or found[0].lower() != keyword:
            return False
        self._move_to(found.end())
        return True

    def find_key(self) -> str | Quoted | None:
        """Read the next key of a path, without the blanks after it; None if there is none."""
        if self._next in _QUOTED:
            return self._quoted(skip_blanks=False)
        found = _KEY.match(self._text, self.place)
        if found is None:
            return None
        self.place = found.end()
        return found[0]

    def take_dot(self) -> bool:
        """Read the dot between two keys, if it is next; else skip the blanks after a path."""
        if self._next == ".":
            self.place += 1
            return True
        self._move_to(self.place)
        return False

    def find_operator(self) -> str | None:
        """Read the next operator, known or unknown, in lower case; None if there is none."""
        found = _SIGN.match(self._text, self.place) or _WORD.match(self._text, self.place)
        if found is None:
            return None
        self._move_to(found.end())
        return found[0].lower()

    def find_literal(self) -> str | Quoted | None:
        """Read the next value, as it is written; None if there is none."""
        if self._next in _QUOTED:
            return self._quoted(skip_blanks=True)
        found = _WORD.match(self._text, self.place)
        if found is None:
            return None
        self._move_to(found.end())
        return found[0]

    def peek_word(self) -> str | None:
        """Return the next word without reading it; None if something else is next."""
        found = _WORD.match(self._text, self.place)
        return None if found is None else found[0]

    def peek_shown(self) -> str:
        """Return the next token without reading it, as written in messages."""
        if self.at_end:
            return "the end"
        sign = _SIGN.match(self._text, self.place)
        shown = self.peek_word() or (sign[0] if sign else self._next)
        return repr(shown[:_NEAR_CHARS])

    def refusal(self, problem: str, place: int | None = None) -> InvalidCondition:
        """Make the error for a problem at a place, by default the current one."""
        at = self.place if place is None else place
        start, end = max(0, at - _NEAR_CHARS), at + _NEAR_CHARS
        near = f"{'…' * (start > 0)}{self._text[start:end]}{'…' * (end < len(self._text))}"
        return InvalidCondition(at + 1, near, problem)

    @property
    def _next(self) -> str:
        return self._text[self.place : self.place + 1]

    def _move_to(self, place: int) -> None:
        found = _BLANKS.match(self._text, place)
        self.place = place if found is None else found.end()

    def _quoted(self, *, skip_blanks: bool) -> Quoted:
        start = self.place
        found = _QUOTED[self._next].match(self._text, start)
        if found is None:
            raise self.refusal(f"the text that begins here has no closing {self._next}")
        text = self._unescaped(found[1], start + 1) if "\\" in found[1] else found[1]
        self.place = found.end()
        if skip_blanks:
            self._move_to(self.place)
        return Quoted(text)

    def _unescaped(self, text: str, start: int) -> str:
        def meant(found: re.Match[str]) -> str:
            if found[1]:
                return chr(int(found[1], 16))
            if found[2] not in _ESCAPED:
                raise self.refusal(
                    f"there is no escape {found[0]!r}; write a backslash as two of them", start + found.start()
                )
            return _ESCAPED[found[2]]

        # Two escapes of JSON may be the halves of one character; UTF-16 joins them.
        plain = _ESCAPE.sub(meant, text)
        return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
