"""Which fields the extractions of a project have, judged by the first of them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.domain.conditions import Exists, InData, InMetadata
from app.domain.ids import ProjectId, source_id_of
from app.models import Extraction, Source
from app.services.storage.conditions.compiling import holds

_TABLE = Extraction.__table__
_SOURCES = Source.__table__

LABELS: Mapping[str, Column[Any]] = {
    "type": _TABLE.c.extraction_type,
    "group": _SOURCES.c.source_group,
    "source": _SOURCES.c.uri,
}
"""The columns of the fields that name what a fact belongs to."""


class FieldRepository:
    """Works on a session, in its transaction; a project of None is all. "First" is by id."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def first_has(self, project_id: UUID | str | None, path: InData | InMetadata, *, most: int) -> bool:
        """Whether one of the first ``most`` extractions has a value at the path."""
        looked_at = self._first(project_id, most, _TABLE.c.data, _TABLE.c.metadata).subquery("extractions")
        found = select(looked_at.c.data).where(holds(Exists(path), self._dialect)).limit(1)
        return self._session.execute(found).first() is not None

    def has_label(self, project_id: UUID | str | None, name: str, value: str, *, most: int) -> bool:
        """Whether an extraction or a source has that type, group or URI.

        Unless it :meth:`finds` them, it looks at the first ``most``.
        """
        found = self._having if self.finds(project_id, name) else self._among_first
        return self._session.execute(found(project_id, name, value, most).limit(1)).first() is not None

    @staticmethod
    def finds(project_id: UUID | str | None, name: str) -> bool:
        """Whether an index finds that label: a group or a URI in a project."""
        return project_id is not None and LABELS[name].table is _SOURCES

    def are_more_than(self, project_id: UUID | str | None, most: int) -> bool:
        """Whether there are more than ``most`` extractions."""
        counted = self._first(project_id, most + 1, _TABLE.c.id).subquery()
        return (self._session.scalar(select(func.count()).select_from(counted)) or 0) > most

    @staticmethod
    def _first(project_id: UUID | str | None, most: int, *columns: ColumnElement[Any]) -> Select[Any]:
        query = select(*columns).order_by(_TABLE.c.id).limit(most)
        return query if project_id is None else query.where(_TABLE.c.project_id == project_id)

    @staticmethod
    def _having(project_id: UUID | str | None, name: str, value: str, _: int) -> Select[Any]:
        """Select the sources of a project that have the label; a URI gives a source's id."""
        in_project = ProjectId(UUID(str(project_id)))
        query = select(_SOURCES.c.id).where(_SOURCES.c.project_id == in_project)
        if name == "source":
            return query.where(_SOURCES.c.id == source_id_of(in_project, value))
        return query.where(LABELS[name] == value)

    @staticmethod
    def _among_first(project_id: UUID | str | None, name: str, value: str, most: int) -> Select[Any]:
        column = LABELS[name]
        first = select(column.label("value")).order_by(column.table.c.id).limit(most)
        if project_id is not None:
            first = first.where(column.table.c.project_id == project_id)
        looked_at = first.subquery()
        return select(looked_at.c.value).where(looked_at.c.value == value)
