"""Conditions on JSON for PostgreSQL, by SQL/JSON paths in lax mode, whose steps unwrap arrays.

A path's filter unwraps the array at the end once, too. Its comparisons would unwrap arrays once
more, which the checks of the type prevent.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from app.domain.condition_values import Value
from app.domain.conditions import Compare, Contains, Exists, In, Leaf, Op, Starts
from app.domain.times import FIRST_MICROSECOND, LAST_MICROSECOND, microseconds_of, spelled_between
from app.domain.whole_words import words_pattern
from app.services.storage.conditions.parameters import Parameters

_TIME = (
    r"^([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,9}))?)?"
    r"(?:Z|([+-])(0[0-9]|1[0-5]):([0-5][0-9]))?)?$"
)
"""The parts of a time, as :func:`app.domain.times.time_of` reads it."""

_DAYS = (
    "CASE WHEN m[2] IN ('04', '06', '09', '11') THEN 30 WHEN m[2] <> '02' THEN 31 "
    "WHEN m[1]::int % 4 = 0 AND (m[1]::int % 100 <> 0 OR m[1]::int % 400 = 0) THEN 29 ELSE 28 END"
)
_MICROSECONDS = (
    "CASE WHEN m[1] > '0000' AND m[2] BETWEEN '01' AND '12' AND m[3] > '00' AND m[3]::int <= "
    f"{_DAYS} THEN (make_date(m[1]::int, m[2]::int, m[3]::int) - DATE '1970-01-01')::bigint * 86400000000 "
    "+ (coalesce(m[4], '0')::bigint * 3600 + coalesce(m[5], '0')::bigint * 60 + coalesce(m[6], '0')::bigint) * 1000000 "
    "+ left(rpad(coalesce(m[7], ''), 6, '0'), 6)::bigint "
    "- coalesce((m[8] || '1')::bigint * (m[9]::bigint * 60 + m[10]::bigint) * 60000000, 0) END"
)
_OPS = {Op.EQ: "==", Op.LT: "<", Op.LE: "<=", Op.GT: ">", Op.GE: ">="}


class JsonOnPostgres:
    """Writes leaves about JSON documents; their values go to ``parameters``."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def leaf(self, document: str, keys: tuple[str, ...], leaf: Leaf) -> str:
        """SQL that is true if the leaf holds for a value that the keys lead to in the document."""
        path = ".".join(["lax $", *(orjson.dumps(key).decode() for key in keys)])
        return self._fits(f"CAST({document} AS jsonb)", path, leaf)

    def _fits(self, document: str, path: str, leaf: Leaf) -> str:
        match leaf:
            case Compare(_, op, wanted):
                return self._compares(document, path, op, [wanted])
            case In(_, values):
                return self._compares(document, path, Op.EQ, values)
            case Exists():
                return self._leads(document, path, {})
            case Starts(_, start):
                return self._leads(
                    document, f'{path} ? (@.type() == "string" && @ starts with $v)', {"v": start}
                )
            case Contains(_, wanted):
                return self._contains(document, path, wanted)

    def _contains(self, document: str, path: str, wanted: Value) -> str:
        equal = self._compares("arrays.value", "lax $[*]", Op.EQ, [wanted])
        found = f"{self._query(document, path, 'arrays', {})} WHERE jsonb_typeof(arrays.value) = 'array' AND ({equal})"
        found = f"EXISTS (SELECT 1 FROM {found})"
        pattern = words_pattern(wanted) if isinstance(wanted, str) else None
        if pattern is None:
            return found
        in_text = f'{path} ? (@.type() == "string" && @ like_regex {orjson.dumps(pattern).decode()})'
        return f"{found} OR {self._leads(document, in_text, {})}"

    def _compares(self, document: str, path: str, op: Op, wanted: Sequence[Value]) -> str:
        """SQL that is true if a value at the path compares so with one of those wanted."""
        others = [each for each in wanted if not isinstance(each, datetime)]
        moments = [each for each in wanted if isinstance(each, datetime)]
        found = list[str]()
        if others:
            given = {f"v{number}": value for number, value in enumerate(others)}
            tests = (_test(op, name, value) for name, value in given.items())
            found.append(self._leads(document, f"{path} ? ({' || '.join(tests)})", given))
        if moments:
            found.append(self._compares_times(document, path, op, moments))
        return " OR ".join(found)

    def _compares_times(self, document: str, path: str, op: Op, wanted: Sequence[datetime]) -> str:
        first, last = spelled_between(op, wanted)
        tests = [
            '@.type() == "string"',
            *(["@ >= $first"] if first is not None else []),
            *(["@ < $last"] if last is not None else []),
            '@ like_regex "^[0-9]{4}-[0-9]{2}-[0-9]{2}"',
        ]
        bounds = {name: text for name, text in (("first", first), ("last", last)) if text is not None}
        texts = self._query(document, f"{path} ? ({' && '.join(tests)})", "times", bounds)
        parts = f"regexp_match(times.value #>> '{{}}', {self._parameters.add(_TIME)}) AS m"
        moments = f"LATERAL (SELECT {_MICROSECONDS} AS moment) AS moments"
        given = self._parameters.add_each(map(microseconds_of, wanted))
        compares = f"moment IN ({given})" if op is Op.EQ else f"moment {op} {given}"
        return (
            f"EXISTS (SELECT 1 FROM {texts}, {parts}, {moments} "
            f"WHERE {compares} AND moment BETWEEN {FIRST_MICROSECOND} AND {LAST_MICROSECOND})"
        )

    def _leads(self, document: str, path: str, given: dict[str, Any]) -> str:
        add = self._parameters.add
        variables = orjson.dumps(given).decode()
        return f"jsonb_path_exists({document}, CAST({add(path)} AS jsonpath), CAST({add(variables)} AS jsonb), TRUE)"

    def _query(self, document: str, path: str, name: str, given: dict[str, Any]) -> str:
        add = self._parameters.add
        variables = orjson.dumps(given).decode()
        return f"jsonb_path_query({document}, CAST({add(path)} AS jsonpath), CAST({add(variables)} AS jsonb), TRUE) AS {name}(value)"


def _test(op: Op, name: str, value: Value) -> str:
    match value:
        case None:
            kind = "null"
        case bool():
            kind = "boolean"
        case str():
            kind = "string"
        case _:
            kind = "number"
    return f'(@.type() == "{kind}" && @ {_OPS[op]} ${name})'
