"""Query parameters: those that a route knows, each as often as it may be given, and no others."""

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
"""More than all that a route knows, its lists of a hundred included."""

_RENAMED = {
    "type": "extraction_types",
    "group": "source_groups",
    "source_uri": "source_uris",
    "run": "run_ids",
}
"""What filters were called before they had the same names as in bodies."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The names of a route's query parameters."""

    known: frozenset[str]
    repeatable: frozenset[str]

    @classmethod
    def of(cls, fields: Sequence[tuple[str, FieldInfo]]) -> Self:
        """Those of a route's fields, by name; one that takes a list may be repeated."""
        return cls(
            frozenset(name for name, _ in fields),
            frozenset(name for name, info in fields if get_origin(info.annotation) is list),
        )

    def check(self, query_string: bytes) -> None:
        """Refuse what the framework would pass over.

        Raises:
            Refused: there are too many.
            InvalidField: one isn't known, or is given twice and can't be.
        """
        if not query_string:
            return
        if query_string.count(b"&") >= MAX_PARAMETERS:
            reason = f"more than {MAX_PARAMETERS} query parameters; ask by several requests"
            raise Refused(422, "too-many-parameters", reason)
        given = Counter(name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
        for name, times in given.items():
            if name not in self.known:
                raise InvalidField(name, self._unknown(name))
            if times > 1 and name not in self.repeatable:
                raise InvalidField(name, f"is given {times} times; give it once")

    def _unknown(self, name: str) -> str:
        if not self.known:
            return "unknown; there are no query parameters here"
        if (renamed := _RENAMED.get(name)) in self.known:
            return f"unknown; it is called {renamed}"
        [nearest] = get_close_matches(name[:100], self.known, n=1, cutoff=0.0)
        return f"unknown; the nearest is {nearest}, and all are {', '.join(sorted(self.known))}"
