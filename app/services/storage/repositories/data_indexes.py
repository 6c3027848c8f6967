"""Indexes on paths of the facts' documents: which there are, and the keys under which they find facts."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    any_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import ScalarSelect
from sqlalchemy.types import NullType

from app.domain.conditions import (
    And,
    Compare,
    Condition,
    Field,
    InData,
    InMetadata,
    Not,
    Or,
    Path,
    leaves,
)
from app.domain.ids import ExtractionId, ProjectId
from app.domain.value_keys import Lookup, between, keys_of, lookups_of, united
from app.intake.where_text import parse_path, write_path
from app.models import DataIndex, DataKey, Extraction
from app.services.storage.repositories.bulk_insert import insert_all
from app.services.storage.repositories.id_lists import among
from app.sql.transactions import is_reading

_INDEXES = DataIndex.__table__
_KEYS = DataKey.__table__
_EXTRACTIONS = Extraction.__table__


class IndexState(StrEnum):
    """What an index is good for: it is used when it is ready."""

    FILLING = "filling"
    READY = "ready"
    DROPPING = "dropping"


class IndexRow(NamedTuple):
    """An index; ``path`` is written as in a condition. ``filled_to`` is the last fact that filling has seen."""

    number: int
    path: str
    state: IndexState
    filled_to: ExtractionId | None

    @property
    def where(self) -> Path:
        """The path, which leads into a document."""
        return parse_path(self.path)


_ALL = select(*(_INDEXES.c[name] for name in IndexRow._fields)).order_by(_INDEXES.c.number)
_LOCK = "SET LOCAL lock_timeout = '2s'; LOCK TABLE data_indexes IN EXCLUSIVE MODE; SET LOCAL lock_timeout = 0"

FEW = 5_000
"""So many facts are looked up by an index rather than found on the way through all. On the way, a page of 50 is found as
soon where more pass."""

_PROJECT_CHARS = 8
"""Of its id, before each key. Two projects may share them: a condition is tried on what is found."""

SOME = 100_000
"""So many are looked up where all are wanted. Looking each of more up takes as long as reading all facts."""

_LAST_KEY = "~"
"""After all keys, which begin with a letter or a sign before it."""

_FIRST_ROWS = 64
_MOST_ROWS = 1_000
_PAGE_BYTES = 8 * 2**20
_MOST_WAYS = 4
_MOST_SPANS = 50
_DELETED_AT_ONCE = 5_000


# Named here, because inside the repository ``list`` is its method.
IndexRows = list[IndexRow]


class KeyedFact(NamedTuple):
    """What the keys of a fact are made of."""

    id: ExtractionId
    project_id: ProjectId
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] | None


_Way = Mapping[int, Lookup]
"""One way to all facts that a condition may hold for: what to look up in which indexes, by their numbers."""


class DataIndexRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def list(self) -> IndexRows:
        """All indexes, in the order in which they were made.

        None is made or dropped until a transaction ends that has asked and may write. One that only
        reads sees the keys as they were.
        """
        if self._dialect == "postgresql" and not is_reading(connection := self._session.connection()):
            connection.exec_driver_sql("LOCK TABLE data_indexes IN ROW SHARE MODE")
        return self._rows(_ALL)

    def lock(self) -> None:
        """Keep all others who write from asking which indexes there are, until this transaction ends.

        So no fact is stored without the keys of an index that is made here. On SQLite the write
        lock does that.

        Raises:
            DatabaseUnavailable: a transaction writes for longer than others should wait behind this
                one.
        """
        if self._dialect == "postgresql":
            self._session.connection().exec_driver_sql(_LOCK)

    def lock_of(self, numbers: Collection[int], state: IndexState) -> IndexRows:
        """Those of these indexes that are in that state, and stay so until this transaction ends."""
        chosen = _ALL.where(_INDEXES.c.number.in_(numbers), _INDEXES.c.state == state)
        return self._rows(chosen.with_for_update(key_share=True))

    def create(self, path: str) -> int:
        """Make an index, to be filled; returns its number."""
        made = insert(_INDEXES).values(path=path, state=IndexState.FILLING).returning(_INDEXES.c.number)
        number: int = self._session.scalars(made).one()
        return number

    def set_state(self, number: int, state: IndexState, filled_to: ExtractionId | None = None) -> None:
        """Note how far an index is."""
        changed = update(_INDEXES).where(_INDEXES.c.number == number)
        self._session.execute(changed.values(state=state, filled_to=filled_to))
        if state is IndexState.READY and self._dialect == "postgresql":
            self._session.connection().exec_driver_sql("ANALYZE data_keys")  # it plans by how many a key finds

    def delete_some_keys(self, number: int) -> int:
        """Delete the next keys of an index that is dropped, a bounded number, and at last itself; returns how many."""
        if not self.lock_of([number], IndexState.DROPPING):
            return 0
        of_index = _KEYS.c.number == number
        place = tuple_(_KEYS.c.key, _KEYS.c.extraction_id)
        some = (
            select(_KEYS.c.key, _KEYS.c.extraction_id).where(of_index).order_by(*place).limit(_DELETED_AT_ONCE)
        )
        rows = self._session.execute(some).all()
        if rows:
            self._session.execute(delete(_KEYS).where(of_index, place <= tuple(rows[-1])))
        else:
            self._session.execute(delete(_INDEXES).where(_INDEXES.c.number == number))
        return len(rows)

    def add_batch(self, facts: Iterable[KeyedFact]) -> None:
        """Store the keys of new facts in every index. They go with their fact when it is deleted."""
        if indexes := self._kept():
            self._insert(facts, indexes)

    def iter_facts(self, ids: Sequence[ExtractionId]) -> Iterator[Sequence[KeyedFact]]:
        """What the keys of these extractions are made of, as many at a time as take about 8 MB."""
        start, size = 0, _FIRST_ROWS
        columns = [_EXTRACTIONS.c[name] for name in KeyedFact._fields]
        while start < len(ids):
            some = ids[start : start + size]
            query = select(*columns).where(among(_EXTRACTIONS.c.id, some, self._dialect))
            facts = [KeyedFact(*row) for row in self._session.execute(query)]
            yield facts
            start += len(some)
            taken_bytes = len(orjson.dumps([(fact.data, fact.metadata) for fact in facts]))
            size = max(1, min(_MOST_ROWS, _PAGE_BYTES * len(some) // max(1, taken_bytes)))

    def rewrite(self, facts: Sequence[KeyedFact], indexes: Sequence[IndexRow]) -> None:
        """Make the keys of these facts in these indexes again. The caller has locked the facts."""
        if not facts or not indexes:
            return
        ids = among(_KEYS.c.extraction_id, [fact.id for fact in facts], self._dialect)
        self._session.execute(delete(_KEYS).where(ids, _KEYS.c.number.in_([row.number for row in indexes])))
        self._insert(facts, indexes)

    def rewrite_metadata(self, metadata: Mapping[ExtractionId, Mapping[str, Any] | None]) -> None:
        """Make the keys again of facts that have other metadata now."""
        indexes = [row for row in self._kept() if isinstance(row.where, InMetadata)]
        if not indexes:
            return
        query = select(_EXTRACTIONS.c.id, _EXTRACTIONS.c.project_id)
        rows = self._session.execute(query.where(among(_EXTRACTIONS.c.id, list(metadata), self._dialect)))
        self.rewrite([KeyedFact(id_, project, {}, metadata[id_]) for id_, project in rows], indexes)

    def ready(self) -> dict[str, int]:
        """The numbers of the indexes that can be used, by path."""
        return {row.path: row.number for row in self.list() if row.state is IndexState.READY}

    def having(
        self, paths: Iterable[InData | InMetadata], project_id: UUID | str
    ) -> "set[InData | InMetadata]":
        """Those of these paths at which a fact of the project has a value, as far as an index says so."""
        numbers, of = self.ready(), _of_project(project_id)
        indexed = {path: numbers[name] for path in paths if (name := write_path(path)) in numbers}
        any_key = _between(of, of + _LAST_KEY)
        return {
            path
            for path, number in indexed.items()
            if self._session.execute(_of_index(number).where(any_key).limit(1)).first() is not None
        }

    def would_help(self, condition: Condition) -> tuple[Sequence[str], Sequence[str]]:
        """The paths of which an index would narrow the condition down, and those of which one is being filled that will.

        None where one does so already.
        """
        indexes = {row.path: row for row in self._kept()}
        ready = {path: row.number for path, row in indexes.items() if row.state is IndexState.READY}
        if next(_ways(condition, ready), None) is not None:
            return [], []
        paths = [write_path(leaf.where) for leaf in leaves(condition) if not isinstance(leaf.where, Field)]
        supposed = {path: number for number, path in enumerate(dict.fromkeys(paths))}
        way = next(_ways(condition, supposed), {})
        lacking = [path for path, number in supposed.items() if number in way and path not in ready]
        return [path for path in lacking if path not in indexes], [path for path in lacking if path in indexes]

    def narrowed(
        self, condition: Condition, project_id: UUID | str | None, *, whole: bool
    ) -> Sequence[ColumnElement[bool]]:
        """That a fact is among those for which the condition may hold, by an index; nothing where none is of use.

        ``whole`` says that all facts are wanted for which it holds; then more are worth looking up.
        """
        if project_id is None or all(isinstance(leaf.where, Field) for leaf in leaves(condition)):
            return ()
        ways = _ways(condition, self.ready())
        found: ScalarSelect[Any] | None = None
        fewest = 1 + (SOME if whole else FEW)
        for way in islice(ways, _MOST_WAYS):
            query = self._ids(way, _of_project(project_id))
            if (many := self._count(query, fewest)) < fewest:
                found, fewest = query.scalar_subquery(), many
        if found is None:
            return ()
        if self._dialect == "postgresql" and fewest <= FEW:
            # An array, because PostgreSQL might go through all facts first and look each up among
            # these.
            return (_EXTRACTIONS.c.id == any_(func.array(found)),)
        return (_EXTRACTIONS.c.id.in_(found),)

    def _count(self, query: Select[Any], most: int) -> int:
        return self._session.scalar(select(func.count()).select_from(query.limit(most).subquery())) or 0

    def _kept(self) -> IndexRows:
        """Those that aren't being dropped."""
        return [row for row in self.list() if row.state is not IndexState.DROPPING]

    def _rows(self, query: Select[Any]) -> IndexRows:
        return [IndexRow(row[0], row[1], IndexState(row[2]), row[3]) for row in self._session.execute(query)]

    def _ids(self, way: _Way, of: str) -> Select[Any]:
        parts = [
            _of_index(number).where(chosen)
            for number, lookup in way.items()
            for chosen in self._chosen(lookup, of)
        ]
        return select(union_all(*parts).subquery().c.extraction_id)

    def _chosen(self, lookup: Lookup, of: str) -> Iterable[ColumnElement[bool]]:
        keys = sorted(of + key for key in lookup.keys)
        if self._dialect == "postgresql":
            yield _KEYS.c.key == any_(bindparam(None, keys, ARRAY(Text)))
        else:
            given = bindparam(None, orjson.dumps(keys).decode(), NullType())
            yield _KEYS.c.key.in_(select(func.json_each(given).table_valued("value").c.value))
        for first, last in sorted(lookup.spans):
            yield _between(of + first, of + last)

    def _insert(self, facts: Iterable[KeyedFact], indexes: Sequence[IndexRow]) -> None:
        paths = [(row.number, row.where) for row in indexes]
        rows = sorted(
            (number, _of_project(fact.project_id) + key, fact.id)
            for fact in facts
            for number, where in paths
            for key in _keys_of(fact, where)
        )
        if rows:
            columns = dict(zip(("number", "key", "extraction_id"), zip(*rows, strict=True), strict=True))
            insert_all(self._session, _KEYS, columns)


def _of_project(project_id: UUID | str) -> str:
    """What the keys of a project's facts begin with."""
    known = project_id if isinstance(project_id, UUID) else UUID(project_id)
    return str(known)[:_PROJECT_CHARS]


def _keys_of(fact: KeyedFact, where: Path) -> Collection[str]:
    match where:
        case InData(keys):
            return keys_of(fact.data, keys)
        case InMetadata(keys):
            return keys_of(fact.metadata, keys)
        case Field():
            return ()  # there is no index on one


def _between(first: str, last: str) -> ColumnElement[bool]:
    # As plain texts: SQLAlchemy would give them the column's collation, where PostgreSQL's grammar
    # has no place for it.
    return _KEYS.c.key.between(literal(first, Text()), literal(last, Text()))


def _of_index(number: int) -> Select[Any]:
    return select(_KEYS.c.extraction_id).where(_KEYS.c.number == number)


def _ways(condition: Condition, indexes: Mapping[str, int]) -> Iterator[_Way]:
    """All ways by these indexes. Of parts of which all must hold, each is a way; of others, they are one together."""
    match condition:
        case And(parts):
            yield from _ways_between(parts, indexes)
            for part in parts:
                yield from _ways(part, indexes)
        case Or(parts):
            found = [next(_ways(part, indexes), None) for part in parts]
            together = _together(way for way in found if way is not None)
            if all(found) and sum(len(lookup.spans) for lookup in together.values()) <= _MOST_SPANS:
                yield together
        case Not():
            pass
        case leaf:
            number = None if isinstance(leaf.where, Field) else indexes.get(write_path(leaf.where))
            if number is not None:
                yield from ({number: lookup} for lookup in lookups_of(leaf))


def _ways_between(parts: Sequence[Condition], indexes: Mapping[str, int]) -> Iterator[_Way]:
    """Where several of the parts bound what one path has."""
    bounds: dict[int, list[Lookup]] = {}
    for part in parts:
        if isinstance(part, Compare) and not isinstance(part.where, Field):
            number = indexes.get(write_path(part.where))
            if number is not None:
                bounds.setdefault(number, []).extend(lookups_of(part))
    for number, lookups in bounds.items():
        if len(lookups) > 1 and (found := between(lookups)) is not None:
            yield {number: found}


def _together(ways: Iterable[_Way]) -> _Way:
    keys: dict[int, list[Lookup]] = {}
    for way in ways:
        for number, lookup in way.items():
            keys.setdefault(number, []).append(lookup)
    return {number: united(lookups) for number, lookups in keys.items()}
