"""Which fields the extractions of a project have, judged by the first of them."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.domain.conditions import Exists, InData, InMetadata
from app.models import Extraction, Source
from app.services.storage.conditions.compiling import holds

_TABLE = Extraction.__table__

LABELS: Mapping[str, Column[Any]] = {
    "type": _TABLE.c.extraction_type,
    "group": Source.__table__.c.source_group,
    "source": Source.__table__.c.uri,
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

    def first_is(self, project_id: UUID | str | None, name: str, value: str, *, most: int) -> bool:
        """Whether one of the first ``most`` extractions or sources has that type, group or URI."""
        column = LABELS[name]
        first = select(column.label("value")).order_by(column.table.c.id).limit(most)
        if project_id is not None:
            first = first.where(column.table.c.project_id == project_id)
        looked_at = first.subquery()
        found = select(looked_at.c.value).where(looked_at.c.value == value).limit(1)
        return self._session.execute(found).first() is not None

    def are_more_than(self, project_id: UUID | str | None, most: int) -> bool:
        """Whether there are more than ``most`` extractions."""
        counted = self._first(project_id, most + 1, _TABLE.c.id).subquery()
        return (self._session.scalar(select(func.count()).select_from(counted)) or 0) > most

    @staticmethod
    def _first(project_id: UUID | str | None, most: int, *columns: ColumnElement[Any]) -> Select[Any]:
        query = select(*columns).order_by(_TABLE.c.id).limit(most)
        return query if project_id is None else query.where(_TABLE.c.project_id == project_id)
