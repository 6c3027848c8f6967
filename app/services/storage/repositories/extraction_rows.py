"""Read whole rows of extractions, with the names of their projects and sources."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, Text, bindparam, cast, func, select
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId, parse_uuid
from app.domain.rows import ExtractionRow
from app.models import Extraction, Project, Source, parse_moment
from app.services.storage.repositories.filtering import WITH_SOURCES
from app.services.storage.repositories.id_lists import among_bound, bound, texts
from app.services.storage.repositories.indexable import digits_of_confidence, number_of

_TABLE = Extraction.__table__
_SOURCES = Source.__table__
_PROJECTS = Project.__table__

_JOINED: dict[str, ColumnElement[Any]] = {
    "project": select(_PROJECTS.c.name).where(_PROJECTS.c.id == _TABLE.c.project_id).scalar_subquery(),
    "source_uri": _SOURCES.c.uri,
    "source_group": _SOURCES.c.source_group,
}
"""The columns of an extraction's row that come from other tables.

The project's name is a subquery for each row found: with a join, SQLite might start with the
projects, and sort.
"""


def joined_rows() -> Select[Any]:
    """Select the columns of an :class:`ExtractionRow`, in order, with projects and sources."""
    columns = [_JOINED[name] if name in _JOINED else _TABLE.c[name] for name in ExtractionRow._fields]
    return select(*columns).select_from(WITH_SOURCES)


def rows_by_id(session: Session, ids: Mapping[str, UUID | str]) -> dict[str, ExtractionRow]:
    """The rows with these ids, by the ids' text, in any order; one statement.

    ``ids`` has the ids as given by their text, so that those that are UUIDs aren't parsed again.
    """
    dialect = session.get_bind().dialect.name
    given = {"ids": bound(ids, dialect)}
    if dialect == "sqlite":
        known = {text: id_ for text, id_ in ids.items() if isinstance(id_, UUID)}
        rows = orjson.loads(session.scalar(_documents_by_ids(), given) or "[]")
        return {row[0]: _read(row, known) for row in rows}
    found = [ExtractionRow(*row) for row in session.execute(_by_ids(), given).all()]
    return dict(zip(texts([row.id for row in found]), found, strict=True))


@cache
def _by_ids() -> Select[Any]:
    """For PostgreSQL. Cached: building it takes as long as running it for ten search results."""
    return joined_rows().where(among_bound(_TABLE.c.id, bindparam("ids", type_=NullType()), "postgresql"))


@cache
def _documents_by_ids() -> Select[Any]:
    """For SQLite: one JSON document, because the driver releases the GIL at each row."""
    of: dict[str, ColumnElement[Any]] = {**_JOINED}
    of |= {name: func.json(cast(_TABLE.c[name], Text)) for name in ("data", "metadata")}
    of |= {"confidence": digits_of_confidence()}
    values = (of[name] if name in of else cast(_TABLE.c[name], Text) for name in ExtractionRow._fields)
    chosen = among_bound(_TABLE.c.id, bindparam("ids", type_=NullType()), "sqlite")
    found = select(func.json_group_array(func.json_array(*values)))
    return found.select_from(WITH_SOURCES).where(chosen)


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
