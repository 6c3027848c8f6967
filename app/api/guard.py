"""Limits on JSON bodies, checked while they stream in: bytes, nesting, strings and items."""

import re
from dataclasses import dataclass

from app.api.problems import Refused

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{},"'))
_ENVELOPE = 3
"""Levels around an extraction's data: the body, its list, the extraction."""

_ITEMS_DEPTH = 2
_MOST_BYTES_A_CHAR = 6  # the escape of a UTF-16 unit


@dataclass(slots=True)
class JsonGuard:
    """Follows the structure of one JSON text fed in chunks; whether it is JSON at all is the parser's to say.

    Raises :class:`Refused` as soon as a limit is passed.
    """

    max_bytes: int
    max_items: int
    max_depth: int
    max_string_chars: int
    _bytes: int = 0
    _depth: int = 0
    _items: int = 0
    _unfinished: bytes = b""

    def announce(self, content_length: int) -> None:
        """Refuse a body whose length is too much before any of it has come."""
        if content_length > self.max_bytes:
            raise self._too_large()

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        self._bytes += len(chunk)
        if self._bytes > self.max_bytes:
            raise self._too_large()
        text = self._unfinished + chunk
        structure = _STRING.sub(b"", text)
        # What is left of the first quotation mark on is a string whose end hasn't come yet.
        start = structure.find(b'"')
        self._unfinished = b"" if start < 0 else text[len(text) - (len(structure) - start) :]
        if len(self._unfinished) > self.max_string_chars * _MOST_BYTES_A_CHAR:
            raise Refused(
                422, "string-too-long", f"a string has more than {self.max_string_chars:,} characters"
            )
        self._follow((structure if start < 0 else structure[:start]).translate(None, _NO_STRUCTURE))

    def _follow(self, structure: bytes) -> None:
        for byte in structure:
            if byte in b"[{":
                self._depth += 1
                if self._depth > self.max_depth + _ENVELOPE:
                    raise Refused(422, "nested-too-deep", f"JSON nested more than {self.max_depth} levels deep")
            elif byte in b"]}":
                self._depth -= 1
            elif self._depth == _ITEMS_DEPTH:
                self._items += 1
                if self._items >= self.max_items:
                    raise Refused(
                        413,
                        "too-many-items",
                        f"more than {self.max_items:,} items; send fewer at once, or extractions as NDJSON",
                    )

    def _too_large(self) -> Refused:
        return Refused(
            413, "body-too-large", f"a body of more than {self.max_bytes:,} bytes; send fewer items at once"
        )
