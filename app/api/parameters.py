"""Validation of query parameters: unknown or wrongly repeated ones are refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Self, get_origin
from urllib.parse import parse_qsl

from pydantic.fields import FieldInfo

from app.api.problems import Refused
from app.errors import InvalidField

MAX_PARAMETERS = 400
"""More than any route has, including its lists of a hundred."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The query parameters of a route, by name."""

    known: frozenset[str]
    repeatable: frozenset[str]

    @classmethod
    def of(cls, fields: Sequence[tuple[str, FieldInfo]]) -> Self:
        """Make them from a route's fields; a parameter that takes a list is repeatable."""
        return cls(
            frozenset(name for name, _ in fields),
            frozenset(name for name, info in fields if get_origin(info.annotation) is list),
        )

    def check(self, query_string: bytes) -> None:
        """Refuse parameters that the framework would silently ignore.

        Raises:
            Refused: there are too many.
            InvalidField: one is unknown, or is repeated and can't be.
        """
        if not query_string:
            return
        if query_string.count(b"&") >= MAX_PARAMETERS:
            reason = f"more than {MAX_PARAMETERS} query parameters; split the request"
            raise Refused(422, "too-many-parameters", reason)
        given = Counter(name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
        for name, times in given.items():
            if name not in self.known:
                raise InvalidField(name, self._unknown(name))
            if times > 1 and name not in self.repeatable:
                raise InvalidField(name, f"is given {times} times; give it once")

    def _unknown(self, name: str) -> str:
        if not self.known:
            return "unknown; this route has no query parameters"
        [nearest] = get_close_matches(name[:100], self.known, n=1, cutoff=0.0)
        return f"unknown; the nearest is {nearest}, and all are {', '.join(sorted(self.known))}"
