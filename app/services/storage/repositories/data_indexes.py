"""Indexes on paths in facts' data and metadata, and the keys by which they find facts."""

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
    Condition,
    Field,
    InData,
    InMetadata,
    Path,
    leaves,
)
from app.domain.ids import ExtractionId, ProjectId
from app.domain.value_keys import Lookup, keys_of
from app.intake.where_text import parse_path, write_path
from app.models import DataIndex, DataKey, Extraction
from app.services.storage.repositories.access_paths import Way, ways_by
from app.services.storage.repositories.bulk_insert import insert_all
from app.services.storage.repositories.id_lists import among
from app.services.storage.repositories.page_sizes import rows_that_fit
from app.sql.transactions import is_reading

_INDEXES = DataIndex.__table__
_KEYS = DataKey.__table__
_EXTRACTIONS = Extraction.__table__


class IndexState(StrEnum):
    """The state of an index; only a ready one is used."""

    FILLING = "filling"
    READY = "ready"
    DROPPING = "dropping"


class IndexRow(NamedTuple):
    """An index. ``path`` is written as in a condition; ``filled_to`` is the last fact filled."""

    number: int
    path: str
    state: IndexState
    filled_to: ExtractionId | None

    @property
    def where(self) -> Path:
        """The parsed path."""
        return parse_path(self.path)


_ALL = select(*(_INDEXES.c[name] for name in IndexRow._fields)).order_by(_INDEXES.c.number)
_LOCK = "SET LOCAL lock_timeout = '2s'; LOCK TABLE data_indexes IN EXCLUSIVE MODE; SET LOCAL lock_timeout = 0"

FEW = 5_000
"""The most facts to look up by an index for a page. If more pass, a scan finds 50 as soon."""

_PROJECT_CHARS = 8
"""Characters of the project's id before each key.

Two projects may share them, which is harmless: conditions are checked on what is found.
"""

SOME = 100_000
"""The most facts to look up if all are wanted. More lookups take as long as reading all facts."""

_LAST_KEY = "~"
"""Sorts after all keys, which begin with a letter or a smaller character."""

_FIRST_ROWS = 64
_MOST_WAYS = 4
_DELETED_AT_ONCE = 5_000


# Named here, because inside the repository ``list`` is a method.
IndexRows = list[IndexRow]


class KeyedFact(NamedTuple):
    """The parts of a fact that its keys are made of."""

    id: ExtractionId
    project_id: ProjectId
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] | None


class DataIndexRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def list(self) -> IndexRows:
        """All indexes, in the order in which they were created.

        In a writing transaction, no index is created or dropped until it ends. A reading
        transaction sees the keys of its snapshot.
        """
        if self._dialect == "postgresql" and not is_reading(connection := self._session.connection()):
            connection.exec_driver_sql("LOCK TABLE data_indexes IN ROW SHARE MODE")
        return self._rows(_ALL)

    def lock(self) -> None:
        """Block :meth:`list` in other writing transactions until this transaction ends.

        So no fact is stored without the keys of an index that is created here. On SQLite the write
        lock does that.

        Raises:
            DatabaseUnavailable: another transaction has been writing for so long that this one
                gives up, because others would wait behind it.
        """
        if self._dialect == "postgresql":
            self._session.connection().exec_driver_sql(_LOCK)

    def lock_of(self, numbers: Collection[int], state: IndexState) -> IndexRows:
        """Lock those of these indexes that are in that state, until this transaction ends."""
        chosen = _ALL.where(_INDEXES.c.number.in_(numbers), _INDEXES.c.state == state)
        return self._rows(chosen.with_for_update(key_share=True))

    def create(self, path: str) -> int:
        """Create an index, to be filled; return its number."""
        made = insert(_INDEXES).values(path=path, state=IndexState.FILLING).returning(_INDEXES.c.number)
        number: int = self._session.scalars(made).one()
        return number

    def set_state(self, number: int, state: IndexState, filled_to: ExtractionId | None = None) -> None:
        """Store an index's state and how far it is filled."""
        changed = update(_INDEXES).where(_INDEXES.c.number == number)
        self._session.execute(changed.values(state=state, filled_to=filled_to))
        if state is IndexState.READY and self._dialect == "postgresql":
            # PostgreSQL's planner needs to know how many facts a key finds.
            self._session.connection().exec_driver_sql("ANALYZE data_keys")

    def delete_some_keys(self, number: int) -> int:
        """Delete some keys of a dropped index, or the index if none are left; return how many."""
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
        """Store the keys of new facts in every index. Deleting a fact deletes its keys."""
        if indexes := self._kept():
            self._insert(facts, indexes)

    def iter_facts(self, ids: Sequence[ExtractionId]) -> Iterator[Sequence[KeyedFact]]:
        """The parts of these extractions that keys are made of, in pages of about 8 MB."""
        start, size = 0, _FIRST_ROWS
        columns = [_EXTRACTIONS.c[name] for name in KeyedFact._fields]
        while start < len(ids):
            some = ids[start : start + size]
            query = select(*columns).where(among(_EXTRACTIONS.c.id, some, self._dialect))
            facts = [KeyedFact(*row) for row in self._session.execute(query)]
            yield facts
            start += len(some)
            taken_bytes = len(orjson.dumps([(fact.data, fact.metadata) for fact in facts]))
            size = rows_that_fit(len(some), taken_bytes)

    def rewrite(self, facts: Sequence[KeyedFact], indexes: Sequence[IndexRow]) -> None:
        """Rewrite the keys of these facts in these indexes. The caller must hold their locks."""
        if not facts or not indexes:
            return
        ids = among(_KEYS.c.extraction_id, [fact.id for fact in facts], self._dialect)
        self._session.execute(delete(_KEYS).where(ids, _KEYS.c.number.in_([row.number for row in indexes])))
        self._insert(facts, indexes)

    def rewrite_metadata(self, metadata: Mapping[ExtractionId, Mapping[str, Any] | None]) -> None:
        """Rewrite the keys of facts whose metadata has changed."""
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
        """The paths at which a fact of the project has a value, as far as indexes show."""
        numbers, of = self.ready(), _of_project(project_id)
        indexed = {path: numbers[name] for path in paths if (name := write_path(path)) in numbers}
        any_key = _between(of, of + _LAST_KEY)
        return {
            path
            for path, number in indexed.items()
            if self._session.execute(_of_index(number).where(any_key).limit(1)).first() is not None
        }

    def would_help(self, condition: Condition) -> tuple[Sequence[str], Sequence[str]]:
        """The paths that lack an index which would narrow the condition, and those being filled.

        Both are empty if a ready index already narrows it.
        """
        indexes = {row.path: row for row in self._kept()}
        ready = {path: row.number for path, row in indexes.items() if row.state is IndexState.READY}
        if next(ways_by(condition, ready), None) is not None:
            return [], []
        paths = [write_path(leaf.where) for leaf in leaves(condition) if not isinstance(leaf.where, Field)]
        supposed = {path: number for number, path in enumerate(dict.fromkeys(paths))}
        way = next(ways_by(condition, supposed), {})
        lacking = [path for path, number in supposed.items() if number in way and path not in ready]
        return [path for path in lacking if path not in indexes], [path for path in lacking if path in indexes]

    def narrowed(
        self, condition: Condition, project_id: UUID | str | None, *, whole: bool
    ) -> Sequence[ColumnElement[bool]]:
        """An SQL condition that narrows the facts down by indexes; empty if no index is of use.

        ``whole`` means that all facts that satisfy the condition are wanted, not just a page; then
        it pays to look up more of them.
        """
        if project_id is None or all(isinstance(leaf.where, Field) for leaf in leaves(condition)):
            return ()
        ways = ways_by(condition, self.ready())
        found: ScalarSelect[Any] | None = None
        fewest = 1 + (SOME if whole else FEW)
        for way in islice(ways, _MOST_WAYS):
            query = self._ids(way, _of_project(project_id))
            if (many := self._count(query, fewest)) < fewest:
                found, fewest = query.scalar_subquery(), many
        if found is None:
            return ()
        if self._dialect == "postgresql" and fewest <= FEW:
            # An array, because with IN PostgreSQL might scan all facts and look each up in the
            # subquery.
            return (_EXTRACTIONS.c.id == any_(func.array(found)),)
        return (_EXTRACTIONS.c.id.in_(found),)

    def _count(self, query: Select[Any], most: int) -> int:
        return self._session.scalar(select(func.count()).select_from(query.limit(most).subquery())) or 0

    def _kept(self) -> IndexRows:
        """The indexes that aren't being dropped."""
        return [row for row in self.list() if row.state is not IndexState.DROPPING]

    def _rows(self, query: Select[Any]) -> IndexRows:
        return [IndexRow(row[0], row[1], IndexState(row[2]), row[3]) for row in self._session.execute(query)]

    def _ids(self, way: Way, of: str) -> Select[Any]:
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
    """The prefix of the keys of a project's facts."""
    known = project_id if isinstance(project_id, UUID) else UUID(project_id)
    return str(known)[:_PROJECT_CHARS]


def _keys_of(fact: KeyedFact, where: Path) -> Collection[str]:
    match where:
        case InData(keys):
            return keys_of(fact.data, keys)
        case InMetadata(keys):
            return keys_of(fact.metadata, keys)
        case Field():
            return ()  # fields have no data index


def _between(first: str, last: str) -> ColumnElement[bool]:
    # As plain text: SQLAlchemy would add the column's collation, which PostgreSQL's grammar doesn't
    # allow here.
    return _KEYS.c.key.between(literal(first, Text()), literal(last, Text()))


def _of_index(number: int) -> Select[Any]:
    return select(_KEYS.c.extraction_id).where(_KEYS.c.number == number)
