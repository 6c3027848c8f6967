"""Limits on JSON bodies, checked while they arrive: bytes, nesting, strings, items and values."""

import re
from dataclasses import dataclass

import numpy as np

from app.api.problems import Refused

_ENVELOPE = 3
"""Levels around an extraction's data: the body, its list, the extraction."""

_ITEMS_DEPTH = 2
_COMMA = ord(",")
STEPS = np.zeros(256, np.int8)
STEPS[[ord("["), ord("{")]] = 1
STEPS[[ord("]"), ord("}")]] = -1
"""By how much each byte outside of strings changes the nesting depth."""

_CUT_ESCAPE = re.compile(rb'\\(?:u[^"\\]{0,3})?\Z')
_LONGEST_CUT = 5
_MOST_BYTES_A_CHAR = 12  # the escapes of two UTF-16 units

MAX_VALUES = 1_000_000
"""The maximum of values in a body. As Python objects they take 100 MiB at most."""


@dataclass(slots=True)
class JsonGuard:
    """Checks the structure of one JSON text that is fed in chunks; it doesn't validate the JSON.

    It scans each byte once, however the text is split, because it runs on the event loop. Raises
    :class:`Refused` as soon as a limit is exceeded.
    """

    max_bytes: int
    max_items: int
    max_depth: int
    max_string_chars: int
    max_values: int = MAX_VALUES
    _bytes: int = 0
    _depth: int = 0
    _items: int = 0
    _values: int = 0
    _in_string: bool = False
    _string_bytes: int = 0
    _cut: bytes = b""

    def announce(self, content_length: int) -> None:
        """Refuse a body that announces too great a length, before it arrives."""
        if content_length > self.max_bytes:
            raise self._too_large()

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes."""
        self._bytes += len(chunk)
        if self._bytes > self.max_bytes:
            raise self._too_large()
        # Replace each escape by a byte that isn't a quotation mark; the marks left delimit strings.
        text = (self._cut + chunk).replace(rb"\\", b"x")
        cut = _CUT_ESCAPE.search(text, max(0, len(text) - _LONGEST_CUT))
        self._cut = b"" if cut is None else cut.group()
        pieces = text[: len(text) - len(self._cut)].replace(rb"\"", b"x").split(b'"')
        outside = 1 if self._in_string else 0
        self._in_string ^= len(pieces) % 2 == 0
        self._measure(pieces)
        self._follow(b"".join(pieces[outside::2]))

    def _measure(self, pieces: list[bytes]) -> None:
        """Check the length of an unfinished string; the parser checks and names complete ones."""
        begun = self._string_bytes if len(pieces) == 1 else 0
        self._string_bytes = begun + len(pieces[-1]) if self._in_string else 0
        if self._string_bytes > self.max_string_chars * _MOST_BYTES_A_CHAR:
            raise Refused(
                422, "string-too-long", f"a string has more than {self.max_string_chars:,} characters"
            )

    def _follow(self, text: bytes) -> None:
        """Check the nesting, items and values of text outside of strings."""
        if not text:
            return
        signs = np.frombuffer(text, np.uint8)
        steps = STEPS[signs]
        depths = self._depth + np.cumsum(steps, dtype=np.int64)
        self._depth = int(depths[-1])
        if (depths[steps > 0] > self.max_depth + _ENVELOPE).any():
            raise Refused(422, "nested-too-deep", f"JSON nested more than {self.max_depth} levels deep")
        commas = depths[signs == _COMMA]
        self._count_values(commas.size + int(np.count_nonzero(steps > 0)))
        ended = int(np.count_nonzero(commas == _ITEMS_DEPTH))
        self._items += ended
        if ended and self._items >= self.max_items:
            raise Refused(
                413,
                "too-many-items",
                f"more than {self.max_items:,} items; send fewer at once, or extractions as NDJSON",
            )

    def _count_values(self, begun: int) -> None:
        """Count values: one for each comma and opening bracket.

        A bracket stands for the first value inside, or for the empty array or object itself.
        """
        self._values += begun
        if self._values > self.max_values:
            raise Refused(
                413, "too-many-values", f"more than {self.max_values:,} values; send less in one request"
            )

    def _too_large(self) -> Refused:
        return Refused(
            413, "body-too-large", f"a body of more than {self.max_bytes:,} bytes; send fewer items at once"
        )
