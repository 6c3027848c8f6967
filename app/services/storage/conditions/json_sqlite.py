"""Conditions on JSON for SQLite.

Nearly always no array is on the way, and the value is read by its path. Where one is, a recursive query walks from the
document to all values that the path leads to. Texts are compared by functions of this process; see ``app.sql.sqlite``.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import orjson

from app.domain.condition_values import INEXACT, Value, exact_number
from app.domain.conditions import Compare, Contains, Exists, In, Leaf, Op, Starts
from app.domain.times import microseconds_of
from app.domain.whole_words import words_pattern
from app.services.storage.conditions.parameters import Parameters

_MOST_PREFIXES = 8
"""A longer path is always walked."""

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
    """Writes leaves about JSON documents, whose values go to ``parameters``."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def leaf(self, document: str, keys: tuple[str, ...], leaf: Leaf) -> str:
        """The leaf holds for a value that the keys lead to in the document."""
        add = self._parameters.add
        fits = self._fits(leaf, "walk.type", "walk.value")
        walk = _WALK.format(
            document=document, keys=add(orjson.dumps(keys).decode()), length=len(keys), fits=f"({fits})"
        )
        quoted = [orjson.dumps(key).decode() for key in keys]
        if len(keys) > _MOST_PREFIXES or any("\\" in key for key in quoted):  # which SQLite's paths can't say
            return walk
        paths = [add("$." + ".".join(quoted[:length])) for length in range(1, len(keys) + 1)]
        types = ", ".join(f"json_type({document}, {path})" for path in paths)
        found = f"({document} ->> {paths[-1]})"
        plain = self._fits(leaf, f"json_type({document}, {paths[-1]})", found)
        return f"CASE WHEN 'array' IN ({types}) THEN {walk} ELSE {plain} END"

    def _fits(self, leaf: Leaf, kind: str, value: str) -> str:
        """The leaf holds for a value, of which ``kind`` is the type as ``json_type`` says it."""
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
        # The type is looked at first: anything else isn't JSON to ``json_each``.
        elements = f"json_each(CASE {kind} WHEN 'array' THEN {value} ELSE '[]' END) AS element"
        found = f"EXISTS (SELECT 1 FROM {elements} WHERE {equal})"
        pattern = words_pattern(wanted) if isinstance(wanted, str) else None
        if pattern is None:
            return found
        return (
            f"CASE {kind} WHEN 'text' THEN has_words({value}, {self._parameters.add(pattern)}) ELSE {found} END"
        )

    def _compares(self, op: Op, wanted: Sequence[Value], kind: str, value: str) -> str:
        """The value compares so with one of those wanted; more than one are compared for equality."""
        numbers = [each for each in wanted if isinstance(each, int | float) and not isinstance(each, bool)]
        texts = [each for each in wanted if isinstance(each, str)]
        times = [microseconds_of(each) for each in wanted if isinstance(each, datetime)]
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
        if times:
            looks_so = f"{value} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
            found.append(f"{kind} = 'text' AND {looks_so} AND {self._one(f'time_of({value})', op, times)}")
        found += [f"{kind} = '{_NAMED[each]}'" for each in _NAMED if any(other is each for other in wanted)]
        return " OR ".join(f"({each})" for each in found)

    def _one(self, value: str, op: Op, wanted: Iterable[object]) -> str:
        if op is Op.EQ:
            return f"{value} IN ({self._parameters.add_each(wanted)})"
        return f"{value} {op} {self._parameters.add_each(wanted)}"


_NAMED: Mapping[bool | None, str] = {None: "null", True: "true", False: "false"}
