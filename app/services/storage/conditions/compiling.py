"""Compile a condition to SQL: how its parts are joined, and which columns hold a fact's fields.

SQL yields NULL where a value is absent. A plain leaf may leave it so, because its row isn't chosen
then; a negated leaf takes NULL as false.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, text
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import Double, TypeEngine

from app.domain.condition_values import FIELDS, Kind, Value
from app.domain.conditions import (
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
    Starts,
    leaves,
)
from app.domain.whole_words import words_pattern
from app.models import UtcDateTime, UuidText
from app.services.storage.conditions.json_postgres import JsonOnPostgres
from app.services.storage.conditions.json_sqlite import JsonOnSqlite
from app.services.storage.conditions.parameters import Parameters

_COLUMNS: Mapping[str, str] = {
    "type": "extractions.extraction_type",
    "group": "sources.source_group",
    "source": "sources.uri",
    "confidence": "extractions.confidence",
    "created": "extractions.created_at",
    "changed": "coalesce(extractions.changed_at, extractions.created_at)",
}
_RUNS = ("extractions.first_run_id", "extractions.last_run_id")
_MARK = "extractions.embedding_id"
_DOCUMENTS: Mapping[type, str] = {InData: "extractions.data", InMetadata: "extractions.metadata"}
_TYPES: Mapping[Kind, TypeEngine[Any]] = {
    Kind.TEXT: Text(),
    Kind.NUMBER: Double(),
    Kind.TIME: UtcDateTime(),
    Kind.RUN: UuidText(),
}

_KEPT_PARAMETERS = 32
_KEPT_CHARS = 4_000
_KEPT_SQL_CHARS = 20_000


class _Unkept(Grouping[bool]):
    """A condition whose compiled statement isn't cached.

    SQLAlchemy caches 500 statements, each with the values of its first use. 24 conditions with
    thousands of values took 2 GB.
    """

    inherit_cache = False


def holds(condition: Condition, dialect: str) -> ColumnElement[bool]:
    """The condition for a row of ``extractions``, joined with ``sources`` if it is about them.

    :func:`is_about_sources` says whether it is.
    """
    compiler = _Compiler(dialect)
    sql = compiler.condition(condition)
    bound = compiler.parameters.bound
    found: ColumnElement[Any] = Grouping(text(sql).bindparams(*bound))
    chars = sum(len(each.value) for each in bound if isinstance(each.value, str))
    kept = len(bound) <= _KEPT_PARAMETERS and chars <= _KEPT_CHARS and len(sql) <= _KEPT_SQL_CHARS
    return found if kept else _Unkept(found)


def is_about_sources(condition: Condition) -> bool:
    """Whether any part of the condition is about a field of the fact's source."""
    return any(leaf.where in {Field("group"), Field("source")} for leaf in leaves(condition))


class _Compiler:
    """Writes one condition in a dialect."""

    def __init__(self, dialect: str) -> None:
        self.parameters = Parameters()
        self._collate = ' COLLATE "C"' if dialect == "postgresql" else ""
        self._on_postgres = on_postgres = dialect == "postgresql"
        self._starts = "starts_with({0}, {1})" if on_postgres else "substr({0}, 1, length({1})) = {1}"
        self._has_words = "{0} ~ {1}" if on_postgres else "has_words({0}, {1})"
        self._json = (JsonOnPostgres if on_postgres else JsonOnSqlite)(self.parameters)

    def condition(self, condition: Condition, *, negated: bool = False) -> str:
        """The condition in SQL.

        SQLite's parser has a stack of 100 places. So negations are pushed down to the leaves, and
        the deepest of joined parts comes first.
        """
        match condition:
            case And(parts) | Or(parts):
                deepest_first = sorted(parts, key=lambda part: -part.size.depth)
                written = [self.condition(part, negated=negated) for part in deepest_first]
                return _joined(written, "AND" if isinstance(condition, And) is not negated else "OR")
            case Not(part):
                return self.condition(part, negated=not negated)
            case Compare(where, Op.NE, value):
                return self.condition(Compare(where, Op.EQ, value), negated=not negated)
            case leaf:
                return f"NOT coalesce({self._leaf(leaf)}, FALSE)" if negated else f"({self._leaf(leaf)})"

    def _leaf(self, leaf: Leaf) -> str:
        match leaf.where:
            case Field(name):
                return self._of_field(name, leaf)
            case path:
                return self._json.leaf(_DOCUMENTS[type(path)], path.keys, leaf)

    def _of_field(self, name: str, leaf: Leaf) -> str:
        match FIELDS[name]:
            case Kind.RUN:
                return " OR ".join(self._of_column(run, leaf, Kind.RUN) for run in _RUNS)
            case Kind.FLAG:
                return self._of_mark(leaf)
            case kind:
                return self._of_column(_COLUMNS[name], leaf, kind)

    def _of_mark(self, leaf: Leaf) -> str:
        match leaf:
            case Compare(_, _, value):
                return f"{_MARK} IS NOT NULL" if value else f"{_MARK} IS NULL"
            case In(_, values):
                return " OR ".join(self._of_mark(Compare(leaf.where, Op.EQ, value)) for value in values)
            case _:
                return "TRUE"  # every fact is either marked or not

    def _of_column(self, column: str, leaf: Leaf, kind: Kind) -> str:
        def given(value: Value) -> str:
            return self.parameters.add(value, _TYPES[kind])

        match leaf:
            case Compare(_, Op.EQ, value):
                return f"{column} = {given(value)}"
            case Compare(_, op, value):
                collate = self._collate if kind is Kind.TEXT else ""
                return f"{column}{collate} {op} {given(value)}"
            case In(_, values):
                return f"{column} IN ({', '.join(map(given, values))})"
            case Exists():
                return f"{column} IS NOT NULL"
            case Starts(_, start):
                return self._starts.format(column, given(start))
            case Contains(_, value):
                pattern = words_pattern(str(value))
                wanted = pattern if self._on_postgres else str(value)
                return "FALSE" if pattern is None else self._has_words.format(column, given(wanted))


def _joined(parts: Sequence[str], word: str) -> str:
    """Join as a balanced tree: a chain of 1,000 parts would exceed SQLite's depth limit."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(parts[:half], word)} {word} {_joined(parts[half:], word)})"
