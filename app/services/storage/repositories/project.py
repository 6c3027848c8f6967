"""Projects: named groups of sources and their extractions."""

import re
import uuid
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, delete, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import InvalidField, NotFound, ProjectExists
from app.models import Extraction, Project, ProjectId, Source
from app.services.storage.repositories.bulk_insert import insert_new
from app.services.storage.repositories.changes import lift_time_limits, rows_changed

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:agent-storage")
_PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def project_id(name: str) -> ProjectId:
    """The id of the project of that name: a UUIDv5, the same on every machine.

    Raises:
        InvalidField: the name isn't 1 to 100 letters, digits, dots, dashes and underscores.
    """
    if not _PROJECT_NAME.fullmatch(name):
        raise InvalidField(
            "project",
            f"{name[:100]!r} is no project name: 1 to 100 of the letters A to Z, digits, '.', '-' and '_', "
            "the first a letter or digit",
        )
    return ProjectId(uuid.uuid5(_NAMESPACE, f"project:{name}"))


class ProjectSummary(NamedTuple):
    """A project, and how many sources, extractions and indexed extractions it has."""

    id: ProjectId
    name: str
    created_at: datetime
    sources: int
    extractions: int
    indexed: int


Summaries = list[ProjectSummary]  # named here, because inside the repository ``list`` is its method


class ProjectRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, name: str) -> Project:
        """A new project.

        Raises:
            InvalidField: that is no name for a project.
            ProjectExists: it is taken.
        """
        if not self._insert(name):
            raise ProjectExists(name)
        return self.get(name)

    def find(self, name: str) -> Project | None:
        """The project of that name, if there is one."""
        return self._session.scalar(select(Project).where(Project.name == name))

    def get(self, name: str, *, locked: bool = False) -> Project:
        """The project of that name; ``locked``, nobody stores anything in it until the transaction ends.

        Raises:
            NotFound: there is none.
        """
        query = select(Project).where(Project.name == name)
        project = self._session.scalar(query.with_for_update() if locked else query)
        if project is None:
            raise NotFound("project", name)
        return project

    def get_or_create(self, name: str) -> Project:
        """The project of that name, made if there is none; safe when several do so at once.

        Raises:
            InvalidInput: that is no name for a project.
        """
        # Shared, so that it isn't deleted before what is stored in it is committed.
        held = select(Project).where(Project.name == name).with_for_update(read=True, key_share=True)
        project = self._session.scalar(held)
        if project is None:
            self._insert(name)
            project = self.get(name)
        return project

    def list(self) -> Summaries:
        """Every project by name, with its counts."""
        return [ProjectSummary(*row) for row in self._session.execute(_summaries().order_by(Project.name))]

    def summary(self, name: str) -> ProjectSummary:
        """One project with its counts.

        Raises:
            NotFound: there is none of that name.
        """
        project = self.get(name)
        [row] = self._session.execute(_summaries(project.id)).all()
        return ProjectSummary(*row)

    def delete(self, name: str) -> bool:
        """Delete a project with its sources and extractions, however long it takes; False if there was none.

        Their vectors stay until reconciliation, or whoever asked, removes them.
        """
        lift_time_limits(self._session)
        return rows_changed(self._session, delete(Project.__table__).where(Project.name == name)) > 0

    def _insert(self, name: str) -> bool:
        return bool(insert_new(self._session, Project.__table__, {"id": [project_id(name)], "name": [name]}))


def _summaries(only: ProjectId | None = None) -> Select[Any]:
    sources = _counts(Source.project_id, only, func.count().label("all"))
    extractions = _counts(
        Extraction.project_id,
        only,
        func.count().label("all"),
        func.count(Extraction.embedding_id).label("indexed"),
    )
    counts = (sources.c["all"], extractions.c["all"], extractions.c.indexed)
    columns: list[Any] = [Project.id, Project.name, Project.created_at]
    return (
        select(*columns, *(func.coalesce(count, 0) for count in counts))
        .outerjoin(sources, sources.c.project_id == Project.id)
        .outerjoin(extractions, extractions.c.project_id == Project.id)
        .where(true() if only is None else Project.id == only)
    )


def _counts(
    project: InstrumentedAttribute[ProjectId], only: ProjectId | None, *counts: ColumnElement[int]
) -> Subquery:
    chosen = true() if only is None else project == only
    return select(project, *counts).where(chosen).group_by(project).subquery()
