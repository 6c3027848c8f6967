"""Conditions on JSON for SQLite.

Nearly always there is no array along the path, and the value is read by its path. If there is one,
a recursive query walks to all values that the path leads to. Texts are compared by Python
functions; see ``app.sql.sqlite``.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import orjson

from app.domain.condition_values import INEXACT, Value, exact_number
from app.domain.conditions import Compare, Contains, Exists, In, Leaf, Op, Starts
from app.domain.times import microseconds_of, spelled_between
from app.domain.whole_words import words_of
from app.services.storage.conditions.parameters import Parameters

_MOST_PREFIXES = 8
"""The most keys of a path that isn't always walked."""

_WALK = (
    "EXISTS (WITH RECURSIVE walk(level, value, type, inside) AS ("
    "SELECT 0, +{document}, 'object', 0 UNION ALL "
    "SELECT level + (walk.type = 'object'), each.value, each.type, walk.type = 'array' "
    "FROM walk, json_each(CASE WHEN walk.type IN ('object', 'array') THEN walk.value ELSE '[]' END) AS each "
    "WHERE walk.type = 'object' AND walk.level < {length} AND each.key = ({keys} ->> walk.level) "
    "OR walk.type = 'array' AND NOT walk.inside) "
    "SELECT 1 FROM walk WHERE level = {length} AND {fits})"
)


class JsonOnSqlite:
    """Writes leaves about JSON documents; their values go to ``parameters``."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def leaf(self, document: str, keys: tuple[str, ...], leaf: Leaf) -> str:
        """SQL that is true if the leaf holds for a value that the keys lead to in the document."""
        quoted = [orjson.dumps(key).decode() for key in keys]
        # SQLite's paths can't express an escaped key.
        if len(keys) > _MOST_PREFIXES or any("\\" in key for key in quoted):
            return self._walk(document, keys, leaf)
        *ways, path = [
            self._parameters.add("$." + ".".join(quoted[:length])) for length in range(1, len(keys) + 1)
        ]
        kind = f"json_type({document}, {path})"
        found = self._fits(leaf, kind, f"({document} ->> {path})")
        if ways:
            arrays = ", ".join(f"json_type({document}, {way})" for way in ways)
            found = f"CASE WHEN 'array' IN ({arrays}) THEN {self._walk(document, keys, leaf)} ELSE {found} END"
        return f"CASE {kind} WHEN 'array' THEN {self._in_array(document, path, leaf)} ELSE {found} END"

    def _walk(self, document: str, keys: tuple[str, ...], leaf: Leaf) -> str:
        """The leaf for a path with arrays along it."""
        fits = self._fits(leaf, "walk.type", "walk.value")
        path = self._parameters.add(orjson.dumps(keys).decode())
        return _WALK.format(document=document, keys=path, length=len(keys), fits=f"({fits})")

    def _in_array(self, document: str, path: str, leaf: Leaf) -> str:
        """SQL that is true if the leaf holds for the array at the path, or for an element of it."""
        if isinstance(leaf, Exists):
            return "TRUE"
        elements = f"SELECT 1 FROM json_each({document}, {path}) AS each"
        found = f"EXISTS ({elements} WHERE {self._fits(leaf, 'each.type', 'each.value')})"
        if isinstance(leaf, Contains):
            whole = self._contains(leaf.value, "'array'", f"({document} ->> {path})")
            return f"{found} OR {whole}"
        return found

    def _fits(self, leaf: Leaf, kind: str, value: str) -> str:
        """SQL that is true if the leaf holds for a value; ``kind`` is its ``json_type``."""
        match leaf:
            case Compare(_, op, wanted):
                return self._compares(op, [wanted], kind, value)
            case In(_, values):
                return self._compares(Op.EQ, values, kind, value)
            case Exists():
                return f"{kind} IS NOT NULL"
            case Starts(_, start):
                given = self._parameters.add(start)
                return f"{kind} = 'text' AND substr({value}, 1, length({given})) = {given}"
            case Contains(_, wanted):
                return self._contains(wanted, kind, value)

    def _contains(self, wanted: Value, kind: str, value: str) -> str:
        equal = self._compares(Op.EQ, [wanted], "element.type", "element.value")
        # The type is checked first: to ``json_each``, other values aren't JSON.
        elements = f"json_each(CASE {kind} WHEN 'array' THEN {value} ELSE '[]' END) AS element"
        found = f"EXISTS (SELECT 1 FROM {elements} WHERE {equal})"
        if not isinstance(wanted, str) or not words_of(wanted):
            return found
        return (
            f"CASE {kind} WHEN 'text' THEN has_words({value}, {self._parameters.add(wanted)}) ELSE {found} END"
        )

    def _compares(self, op: Op, wanted: Sequence[Value], kind: str, value: str) -> str:
        """SQL that is true if the value compares so with one of those wanted.

        Several wanted values are only compared for equality.
        """
        numbers = [each for each in wanted if isinstance(each, int | float) and not isinstance(each, bool)]
        texts = [each for each in wanted if isinstance(each, str)]
        moments = [each for each in wanted if isinstance(each, datetime)]
        found = list[str]()
        if numbers:
            exact = value
            if any(abs(number) >= INEXACT for number in numbers):
                exact = f"CASE typeof({value}) WHEN 'real' THEN exact_number({value}) ELSE {value} END"
            found.append(
                f"{kind} IN ('integer', 'real') AND {self._one(exact, op, map(exact_number, numbers))}"
            )
        if texts:
            found.append(f"{kind} = 'text' AND {self._one(value, op, texts)}")
        if moments:
            first, last = spelled_between(op, moments)
            looks_so = [f"{value} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"]
            looks_so += [] if first is None else [f"{value} >= {self._parameters.add(first)}"]
            looks_so += [] if last is None else [f"{value} < {self._parameters.add(last)}"]
            compares = self._one(f"time_of({value})", op, map(microseconds_of, moments))
            found.append(" AND ".join([f"{kind} = 'text'", *looks_so, compares]))
        found += [f"{kind} = '{_NAMED[each]}'" for each in _NAMED if any(other is each for other in wanted)]
        return " OR ".join(f"({each})" for each in found)

    def _one(self, value: str, op: Op, wanted: Iterable[object]) -> str:
        if op is Op.EQ:
            return f"{value} IN ({self._parameters.add_each(wanted)})"
        return f"{value} {op} {self._parameters.add_each(wanted)}"


_NAMED: Mapping[bool | None, str] = {None: "null", True: "true", False: "false"}
