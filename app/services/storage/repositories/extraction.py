"""The repository of extractions: reading, filtering, storing and marking their rows."""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.types import NullType

from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId, parse_uuid, source_id_of
from app.domain.ordering import Order, Place
from app.domain.rows import ExtractionRow, ExtractionRows
from app.errors import NotFound
from app.models import ORPHANED, Extraction, Project, Source, parse_moment
from app.services.storage.conditions.compiling import holds, is_about_sources
from app.services.storage.repositories.bulk_insert import insert_new
from app.services.storage.repositories.data_indexes import DataIndexRepository
from app.services.storage.repositories.id_lists import Ids, among, among_bound, bound, texts
from app.services.storage.repositories.indexable import digits_of_confidence, number_of
from app.services.storage.repositories.ordering import Ordering
from app.services.storage.repositories.statements import lift_time_limits, rows_changed

T = TypeVar("T")

_TABLE = Extraction.__table__
_SOURCES = Source.__table__
_PROJECTS = Project.__table__
_OF_SOURCE = _TABLE.c.source_id == _SOURCES.c.id

_JOINED: dict[str, ColumnElement[Any]] = {
    "project": select(_PROJECTS.c.name).where(_PROJECTS.c.id == _TABLE.c.project_id).scalar_subquery(),
    "source_uri": _SOURCES.c.uri,
    "source_group": _SOURCES.c.source_group,
}
"""The columns of an extraction's row that come from other tables.

The project's name is a subquery for each row found: with a join, SQLite might start with the
projects, and sort.
"""

_FEW = 16
"""The most rows to read ahead: each may have 4 MiB of data."""

_STREAMED = {"stream_results": True, "max_row_buffer": _FEW}


class NewExtraction(NamedTuple):
    """An extraction to store. ``data`` must suit orjson: no NaN, and only 64-bit integers."""

    id: ExtractionId
    project_id: ProjectId
    source_id: SourceId
    extraction_type: str
    data: Mapping[str, Any]
    confidence: float | None = None
    metadata: Mapping[str, Any] | None = None
    first_run_id: RunId | None = None
    last_run_id: RunId | None = None
    created_at: datetime | None = None
    changed_at: datetime | None = None


_MAY_BE_ABSENT = ("confidence", "metadata", "first_run_id", "last_run_id", "created_at", "changed_at")


# Named here, because inside the repository ``list`` is a method.
ExtractionIds = list[ExtractionId]


class ExtractionRepository:
    """Works on a session, in its transaction; never commits.

    Ids may be UUIDs or their text; ids without a row are ignored.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def create(self, extraction: NewExtraction) -> bool:
        """Store an extraction; return False if it already existed."""
        return bool(self.create_batch([extraction]))

    def create_batch(
        self, extractions: Sequence[NewExtraction], *, held: Collection[ExtractionId] | None = None
    ) -> set[ExtractionId]:
        """Store the extractions that don't exist yet, and return their ids.

        A ``created_at`` of None means now; set it for all or for none. ``held`` are the ids that
        exist, if the caller has checked.
        """
        if not extractions:
            return set()
        columns = dict(zip(NewExtraction._fields, zip(*extractions, strict=True), strict=True))
        for name in _MAY_BE_ABSENT:
            if not any(value is not None for value in columns[name]):
                del columns[name]
        return {ExtractionId(new) for new in insert_new(self._session, _TABLE, columns, held=held)}

    def get(self, extraction_id: ExtractionId) -> ExtractionRow:
        """One extraction.

        Raises:
            NotFound: no extraction has that id.
        """
        found = self.get_batch([extraction_id])
        if not found:
            raise NotFound("extraction", extraction_id)
        return found[0]

    def get_batch(self, ids: Ids) -> ExtractionRows:
        """The extractions with these ids, in their order, each once; one statement."""
        if not ids:
            return []
        given = {"ids": bound(ids, self._dialect)}
        spelled = dict(zip(texts(ids), ids, strict=True))
        if self._dialect == "sqlite":
            known = {text: id_ for text, id_ in spelled.items() if isinstance(id_, UUID)}
            rows = orjson.loads(self._session.scalar(_documents_by_ids(), given) or "[]")
            by_id = {row[0]: _read(row, known) for row in rows}
        else:
            found = [ExtractionRow(*row) for row in self._session.execute(_by_ids(), given).all()]
            by_id = dict(zip(texts([row.id for row in found]), found, strict=True))
        return [by_id[key] for key in spelled if key in by_id]

    def get_by_source(self, source_id: SourceId) -> ExtractionRows:
        """A source's extractions, by id."""
        return sorted(self._stored(joined_rows().where(_TABLE.c.source_id == source_id)), key=attrgetter("id"))

    def list(self, filters: Filters = ANY, *, after: ExtractionId | None = None, limit: int) -> ExtractionRows:
        """The extractions that pass the filters, by id: the ``limit`` next after ``after``."""
        return self._stored(self._page(filters, after, limit))

    def list_within(
        self, most_bytes: int, filters: Filters = ANY, *, after: ExtractionId | None = None, limit: int
    ) -> tuple[ExtractionRows, bool]:
        """Like :meth:`list`, but stops before the data exceeds ``most_bytes`` of JSON.

        Also returns whether it stopped. The first row is returned whatever its size.
        """
        query = self._page(filters, after, limit).execution_options(**_STREAMED)
        with self._session.execute(query) as found:
            return _within(most_bytes, (ExtractionRow(*row) for row in found))

    def iter_pages(self, ids: Ids, most_bytes: int) -> Iterator[ExtractionRows]:
        """The extractions with these ids, by id, in pages of up to ``most_bytes`` or one row."""
        filters, after, more = Filters(extraction_ids=tuple(ids)), None, True
        while more and ids:
            rows, more = self.list_within(most_bytes, filters, after=after, limit=len(ids))
            if rows:
                after = rows[-1].id
                yield rows

    def list_sorted(
        self, order: Order, most_bytes: int, filters: Filters = ANY, *, after: Place | None = None, limit: int
    ) -> tuple[ExtractionRows, bool]:
        """Like :meth:`list_within`, but in an order; ``after`` is a place in it."""
        ordering = Ordering(order, self._dialect)
        chosen = self.passing(filters, *ordering.columns())
        ids = self._session.scalars(ordering.ids(chosen, after, limit)).all()
        few = (ids[start : start + _FEW] for start in range(0, len(ids), _FEW))
        return _within(most_bytes, (row for some in few for row in self.get_batch(some)))

    def count(self, filters: Filters = ANY) -> int:
        """How many extractions pass the filters."""
        return self._session.scalar(self.passing(filters, func.count(), whole=True)) or 0

    def list_ids(self, filters: Filters, *, after: ExtractionId | None = None, limit: int) -> ExtractionIds:
        """The ids of the extractions that pass the filters: the ``limit`` next after ``after``."""
        return self._ids(self.passing(filters, _TABLE.c.id).where(beyond(after)), limit)

    def passing(self, filters: Filters, *columns: ColumnElement[Any], whole: bool = False) -> Select[Any]:
        """A statement for these columns of the extractions that pass the filters.

        ``whole`` means that all of them will be read, not just a page.
        """
        return select(*columns).select_from(_joining_what(filters)).where(self._passes(filters, whole=whole))

    def passing_among(
        self, some: ColumnElement[bool], filters: Filters, *columns: ColumnElement[Any]
    ) -> Select[Any]:
        """Like :meth:`passing`, among some extractions that are found by another condition."""
        passes = and_(some, *self._of_filters(filters))
        return select(*columns).select_from(_joining_what(filters)).where(passes)

    def iter_ids_of_sources(self, sources: Ids, *, size: int) -> Generator[Sequence[ExtractionId], None, None]:
        """Stream the ids of these sources' extractions, ``size`` at a time; may be millions."""
        if not sources:
            return
        query = select(_TABLE.c.id).where(among(_TABLE.c.source_id, sources, self._dialect))
        with closing(self._session.scalars(query.execution_options(yield_per=size))) as found:
            yield from found.partitions()

    def keep_passing(self, ids: Ids, filters: Filters) -> set[ExtractionId]:
        """The ``ids`` whose extractions pass the filters."""
        some = among(_TABLE.c.id, ids, self._dialect)
        return set(self._session.scalars(self.passing_among(some, filters, _TABLE.c.id)))

    def existing_ids(self, ids: Ids) -> set[ExtractionId]:
        """The ``ids`` that have a row."""
        # The given ids aren't parsed again: parsing would take longer than everything else.
        spelled = dict(zip(texts(ids), ids, strict=True))
        found = select(cast(_TABLE.c.id, Text).label("id")).where(among(_TABLE.c.id, ids, self._dialect))
        if self._dialect == "sqlite":  # one row: the driver releases Python's lock at each
            every = select(func.json_group_array(found.subquery().c.id))
            there: Iterable[str] = orjson.loads(self._session.scalar(every) or "[]")
        else:
            there = self._session.scalars(found)
        known = ((text, spelled.get(text)) for text in there)
        return {ExtractionId(id_ if isinstance(id_, UUID) else parse_uuid(text)) for text, id_ in known}

    def count_marks(self, ids: Ids) -> tuple[int, int]:
        """How many of ``ids`` are marked as indexed, and how many are set aside."""
        marked, set_aside = self._session.execute(
            select(func.count(_TABLE.c.embedding_id), func.count(_TABLE.c.set_aside_reason)).where(
                among(_TABLE.c.id, ids, self._dialect)
            )
        ).one()
        return marked, set_aside

    def find_orphaned(
        self, *, after: ExtractionId | None = None, limit: int, project_id: ProjectId | None = None
    ) -> ExtractionIds:
        """The ids of orphans that aren't set aside: the ``limit`` next after ``after``."""
        orphaned = select(_TABLE.c.id).where(text(ORPHANED), in_project(project_id), beyond(after))
        return self._ids(orphaned, limit)

    def count_orphaned(self, project_id: ProjectId | None = None) -> int:
        """How many orphans aren't set aside, in one project or all."""
        orphaned = select(func.count()).select_from(_TABLE).where(text(ORPHANED), in_project(project_id))
        return self._session.scalar(orphaned) or 0

    def any_marked(self) -> bool:
        """Whether any extraction is marked as indexed."""
        marked = select(_TABLE.c.id).where(_TABLE.c.embedding_id.is_not(None)).exists()
        return bool(self._session.scalar(select(marked)))

    def update_embedding_ids_batch(self, ids: Ids) -> int:
        """Mark extractions as indexed, in one statement; return how many weren't marked before.

        Call it only after Qdrant has acknowledged their vectors.
        """
        return self._change(ids, {"embedding_id": cast(_TABLE.c.id, Text)}, _TABLE.c.embedding_id.is_(None))

    def clear_embedding_ids_batch(self, ids: Ids) -> int:
        """Clear these extractions' marks, in one statement; return how many had one."""
        return self._change(ids, {"embedding_id": None}, _TABLE.c.embedding_id.is_not(None))

    def clear_all_embedding_ids(self) -> int:
        """Clear all marks and set-aside reasons, without a time limit; return the rows changed."""
        lift_time_limits(self._session)
        marked = _TABLE.c.embedding_id.is_not(None) | _TABLE.c.set_aside_reason.is_not(None)
        return self._execute(update(_TABLE).where(marked).values(embedding_id=None, set_aside_reason=None))

    def clear_set_aside_batch(self, ids: Ids) -> int:
        """Make set-aside extractions orphans again, in one statement; return the rows changed."""
        return self._change(ids, {"set_aside_reason": None}, _TABLE.c.set_aside_reason.is_not(None))

    def set_aside(self, reasons: Mapping[ExtractionId, str] | Mapping[str, str]) -> None:
        """Set extractions aside, with the reasons, unless they have a vector."""
        if not reasons:
            return
        statement = (
            update(_TABLE)
            .where(_TABLE.c.id == bindparam("extraction"), _TABLE.c.embedding_id.is_(None))
            .values(set_aside_reason=bindparam("reason"))
        )
        self._session.execute(
            statement, [{"extraction": key, "reason": reason} for key, reason in reasons.items()]
        )

    def _stored(self, query: Select[Any]) -> ExtractionRows:
        return [ExtractionRow(*row) for row in self._session.execute(query).all()]

    def _page(self, filters: Filters, after: ExtractionId | None, limit: int) -> Select[Any]:
        query = joined_rows().where(self._passes(filters), beyond(after))
        return query.order_by(_TABLE.c.id).limit(limit)

    def _ids(self, query: Select[ExtractionId], limit: int) -> ExtractionIds:
        return list(self._session.scalars(query.order_by(_TABLE.c.id).limit(limit)))

    def _passes(self, filters: Filters, *, whole: bool = False) -> ColumnElement[bool]:
        narrowed: Sequence[ColumnElement[bool]] = ()
        if filters.where is not None and filters.extraction_ids is None:
            indexes = DataIndexRepository(self._session)
            narrowed = indexes.narrowed(filters.where, filters.project_id, whole=whole)
        return and_(*self._of_filters(filters, narrowed=bool(narrowed)), *narrowed)

    def _of_filters(self, filters: Filters, *, narrowed: bool = False) -> Iterator[ColumnElement[bool]]:
        yield self._of_project(filters, narrowed=narrowed)
        yield from self._of_sources(filters)
        yield from self._of_rows(filters)
        if filters.where is not None:
            yield holds(filters.where, self._dialect)

    def _of_rows(self, filters: Filters) -> Iterator[ColumnElement[bool]]:
        if filters.extraction_types:
            yield _TABLE.c.extraction_type.in_(filters.extraction_types)
        if filters.min_confidence is not None:
            yield _TABLE.c.confidence >= filters.min_confidence
        if filters.max_confidence is not None:
            yield _TABLE.c.confidence <= filters.max_confidence
        if filters.extraction_ids is not None:
            yield among(_TABLE.c.id, filters.extraction_ids, self._dialect)
        if filters.run_ids:
            runs = (_TABLE.c.first_run_id, _TABLE.c.last_run_id)
            yield or_(*(among(run, filters.run_ids, self._dialect) for run in runs))
        if filters.indexed is not None:
            yield _is_given(_TABLE.c.embedding_id, given=filters.indexed)
        if filters.set_aside is not None:
            yield _is_given(_TABLE.c.set_aside_reason, given=filters.set_aside)

    def _of_project(self, filters: Filters, *, narrowed: bool) -> ColumnElement[bool]:
        """The project's condition. If few rows pass the others, SQLite must not use its index.

        Those rows have a better index of their own; by the project's, SQLite reads all its rows.
        """
        are_few = narrowed or filters.set_aside or (filters.indexed is False and filters.set_aside is False)
        if filters.project_id is None or not are_few or self._dialect != "sqlite":
            return in_project(filters.project_id)
        return _without_index(_TABLE.c.project_id) == filters.project_id

    def _of_sources(self, filters: Filters) -> Iterator[ColumnElement[bool]]:
        """Conditions on sources: by id within a project, since URIs give ids; else by URI."""
        if filters.source_groups:
            yield _SOURCES.c.source_group.in_(filters.source_groups)
        if filters.source_uris and filters.project_id is None:
            yield _SOURCES.c.uri.in_(filters.source_uris)
        elif filters.source_uris:
            project_id = ProjectId(UUID(str(filters.project_id)))
            ids = [source_id_of(project_id, uri) for uri in filters.source_uris]
            yield among(_TABLE.c.source_id, ids, self._dialect)

    def _change(self, ids: Ids, values: Mapping[str, Any], condition: ColumnElement[bool]) -> int:
        if not ids:
            return 0
        chosen = among(_TABLE.c.id, ids, self._dialect)
        return self._execute(update(_TABLE).where(chosen, condition).values(**values))

    def _execute(self, statement: Update) -> int:
        return rows_changed(self._session, statement)


def _within(most_bytes: int, rows: Iterable[ExtractionRow]) -> tuple[ExtractionRows, bool]:
    """The rows that fit into ``most_bytes`` of JSON, at least one, and whether more are left."""
    taken, found = 0, list[ExtractionRow]()
    for row in rows:
        taken += len(orjson.dumps(row.data))
        if taken > most_bytes and found:
            return found, True
        found.append(row)
    return found, False


def joined_rows() -> Select[Any]:
    """Select the columns of an :class:`ExtractionRow`, in order, with projects and sources."""
    columns = [_JOINED[name] if name in _JOINED else _TABLE.c[name] for name in ExtractionRow._fields]
    return select(*columns).select_from(_TABLE.join(_SOURCES, _OF_SOURCE))


@cache
def _by_ids() -> Select[Any]:
    """For PostgreSQL. Cached: building it takes as long as running it for ten search results."""
    return joined_rows().where(among_bound(_TABLE.c.id, bindparam("ids", type_=NullType()), "postgresql"))


@cache
def _documents_by_ids() -> Select[Any]:
    """For SQLite: one JSON document, because the driver releases Python's lock at each row."""
    of: dict[str, ColumnElement[Any]] = {**_JOINED}
    of |= {name: func.json(cast(_TABLE.c[name], Text)) for name in ("data", "metadata")}
    of |= {"confidence": digits_of_confidence()}
    values = (of[name] if name in of else cast(_TABLE.c[name], Text) for name in ExtractionRow._fields)
    chosen = among_bound(_TABLE.c.id, bindparam("ids", type_=NullType()), "sqlite")
    found = select(func.json_group_array(func.json_array(*values)))
    return found.select_from(_TABLE.join(_SOURCES, _OF_SOURCE)).where(chosen)


def _read(values: Sequence[Any], known: Mapping[str, UUID]) -> ExtractionRow:
    """Convert a row of :func:`_documents_by_ids`; ids in ``known`` aren't parsed again."""
    id_, project_id, project, source_id, *rest = values
    uri, group, type_, data, digits, mark, reason, created, first, last, metadata, changed = rest
    return ExtractionRow(
        ExtractionId(known.get(id_) or parse_uuid(id_)),
        ProjectId(parse_uuid(project_id)),
        project,
        SourceId(parse_uuid(source_id)),
        uri,
        group,
        type_,
        data,
        number_of(digits),
        mark,
        reason,
        parse_moment(created),
        None if first is None else RunId(parse_uuid(first)),
        None if last is None else RunId(parse_uuid(last)),
        metadata,
        None if changed is None else parse_moment(changed),
    )


def _joining_what(filters: Filters) -> FromClause:
    """The tables that the filters need, so that counting joins no others."""
    by_uri = filters.source_uris and filters.project_id is None
    by_condition = filters.where is not None and is_about_sources(filters.where)
    return _TABLE.join(_SOURCES, _OF_SOURCE) if filters.source_groups or by_uri or by_condition else _TABLE


def _without_index(column: ColumnElement[T]) -> ColumnElement[T]:
    """The column with a unary plus, which keeps SQLite from using its index (see SQLite's docs)."""
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)


def _is_given(column: ColumnElement[Any], *, given: bool) -> ColumnElement[bool]:
    return column.is_not(None) if given else column.is_(None)


def in_project(project_id: UUID | str | None) -> ColumnElement[bool]:
    """The extractions of a project; None: all."""
    return true() if project_id is None else _TABLE.c.project_id == project_id


def beyond(after: ExtractionId | None) -> ColumnElement[bool]:
    """The extractions after that id; None: all."""
    return true() if after is None else _TABLE.c.id > after
