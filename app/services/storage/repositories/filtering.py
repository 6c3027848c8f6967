"""Turn filters into SQL conditions on the extractions and their sources."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, or_, select, true
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op

from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId, source_id_of
from app.models import Extraction, Source
from app.services.storage.conditions.compiling import holds, is_about_sources
from app.services.storage.repositories.data_indexes import DataIndexRepository
from app.services.storage.repositories.id_lists import among

T = TypeVar("T")

_TABLE = Extraction.__table__
_SOURCES = Source.__table__

WITH_SOURCES = _TABLE.join(_SOURCES, _TABLE.c.source_id == _SOURCES.c.id)
"""The extractions, each with its source."""


def passing(
    session: Session, filters: Filters, *columns: ColumnElement[Any], whole: bool = False
) -> Select[Any]:
    """A statement for these columns of the extractions that pass the filters.

    ``whole`` means that all of them will be read, not just a page.
    """
    return select(*columns).select_from(_joining_what(filters)).where(passes(session, filters, whole=whole))


def passing_among(
    session: Session, some: ColumnElement[bool], filters: Filters, *columns: ColumnElement[Any]
) -> Select[Any]:
    """Like :func:`passing`, among some extractions that are found by another condition."""
    narrowed = and_(some, *_of_filters(session, filters))
    return select(*columns).select_from(_joining_what(filters)).where(narrowed)


def passes(session: Session, filters: Filters, *, whole: bool = False) -> ColumnElement[bool]:
    """The condition of the filters, for a statement over :data:`WITH_SOURCES`."""
    narrowed: Sequence[ColumnElement[bool]] = ()
    if filters.where is not None and filters.extraction_ids is None:
        indexes = DataIndexRepository(session)
        narrowed = indexes.narrowed(filters.where, filters.project_id, whole=whole)
    return and_(*_of_filters(session, filters, narrowed=bool(narrowed)), *narrowed)


def in_project(project_id: UUID | str | None) -> ColumnElement[bool]:
    """The extractions of a project; None: all."""
    return true() if project_id is None else _TABLE.c.project_id == project_id


def beyond(after: ExtractionId | None) -> ColumnElement[bool]:
    """The extractions after that id; None: all."""
    return true() if after is None else _TABLE.c.id > after


def _of_filters(session: Session, filters: Filters, *, narrowed: bool = False) -> Iterator[ColumnElement[bool]]:
    dialect = session.get_bind().dialect.name
    yield _of_project(filters, dialect, narrowed=narrowed)
    yield from _of_sources(filters, dialect)
    yield from _of_rows(filters, dialect)
    if filters.where is not None:
        yield holds(filters.where, dialect)


def _of_project(filters: Filters, dialect: str, *, narrowed: bool) -> ColumnElement[bool]:
    """The project's condition. If few rows pass the others, SQLite must not use its index.

    Those rows have a better index of their own; by the project's, SQLite reads all its rows.
    """
    are_few = narrowed or filters.set_aside or (filters.indexed is False and filters.set_aside is False)
    if filters.project_id is None or not are_few or dialect != "sqlite":
        return in_project(filters.project_id)
    return _without_index(_TABLE.c.project_id) == filters.project_id


def _of_sources(filters: Filters, dialect: str) -> Iterator[ColumnElement[bool]]:
    """Conditions on sources: by id within a project, since URIs give ids; else by URI."""
    if filters.source_groups:
        yield _SOURCES.c.source_group.in_(filters.source_groups)
    if filters.source_uris and filters.project_id is None:
        yield _SOURCES.c.uri.in_(filters.source_uris)
    elif filters.source_uris:
        project_id = ProjectId(UUID(str(filters.project_id)))
        ids = [source_id_of(project_id, uri) for uri in filters.source_uris]
        yield among(_TABLE.c.source_id, ids, dialect)


def _of_rows(filters: Filters, dialect: str) -> Iterator[ColumnElement[bool]]:
    if filters.extraction_types:
        yield _TABLE.c.extraction_type.in_(filters.extraction_types)
    if filters.min_confidence is not None:
        yield _TABLE.c.confidence >= filters.min_confidence
    if filters.max_confidence is not None:
        yield _TABLE.c.confidence <= filters.max_confidence
    if filters.extraction_ids is not None:
        yield among(_TABLE.c.id, filters.extraction_ids, dialect)
    if filters.run_ids:
        runs = (_TABLE.c.first_run_id, _TABLE.c.last_run_id)
        yield or_(*(among(run, filters.run_ids, dialect) for run in runs))
    if filters.indexed is not None:
        yield _is_given(_TABLE.c.embedding_id, given=filters.indexed)
    if filters.set_aside is not None:
        yield _is_given(_TABLE.c.set_aside_reason, given=filters.set_aside)


def _joining_what(filters: Filters) -> FromClause:
    """The tables that the filters need, so that counting joins no others."""
    by_uri = filters.source_uris and filters.project_id is None
    by_condition = filters.where is not None and is_about_sources(filters.where)
    return WITH_SOURCES if filters.source_groups or by_uri or by_condition else _TABLE


def _without_index(column: ColumnElement[T]) -> ColumnElement[T]:
    """The column with a unary plus, which keeps SQLite from using its index (see SQLite's docs)."""
    return UnaryExpression(column, operator=custom_op("+"), type_=column.type)


def _is_given(column: ColumnElement[Any], *, given: bool) -> ColumnElement[bool]:
    return column.is_not(None) if given else column.is_(None)
