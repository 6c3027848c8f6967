"""Projects: named groups of sources and their extractions."""

from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, Subquery, delete, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.domain.ids import ProjectId, project_id_of
from app.domain.rows import ProjectSummaries, ProjectSummary
from app.errors import NotFound, ProjectExists
from app.models import Extraction, Project, Source
from app.services.storage.repositories.bulk_insert import insert_new
from app.services.storage.repositories.statements import lift_time_limits, rows_changed


class ProjectRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

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

        None of its sources is deleted until the transaction ends.

        Raises:
            InvalidInput: that is no name for a project.
        """
        # Shared, so that it isn't deleted before what is stored in it is committed.
        held = self._adding(name).with_for_update(read=True, key_share=True)
        project: Project | None = self._session.scalar(held)
        if project is None:
            self._insert(name)
            made: Project = self._session.scalars(self._adding(name)).one()
            return made
        return project

    def hold_sources(self, project_id: ProjectId) -> None:
        """Wait for those who add to the project, and let none begin until the transaction ends.

        For those who delete sources or bring them back, before they lock anything else: a source
        that vanished under those who add to it would be stored again out of the order in which all
        lock sources.
        """
        if self._dialect == "postgresql":
            self._session.execute(select(func.pg_advisory_xact_lock(_sources_lock(project_id))))

    def _adding(self, name: str) -> Select[Any]:
        """The project of that name; in the same statement, its sources are kept from being deleted."""
        query = select(Project).where(Project.name == name)
        if self._dialect == "postgresql":
            query = query.add_columns(func.pg_advisory_xact_lock_shared(_sources_lock(project_id_of(name))))
        return query

    def ids(self) -> "list[ProjectId]":
        """The ids of all projects."""
        return [*self._session.scalars(select(Project.id))]

    def list(self, *, after: str | None = None, limit: int | None = None) -> ProjectSummaries:
        """The projects by name, with their counts: the ``limit`` next after the name ``after``; None is all."""
        chosen = true() if after is None else Project.name > after
        page = select(Project.__table__).where(chosen).order_by(Project.name).limit(limit)
        return [ProjectSummary(*row) for row in self._session.execute(_summaries(page))]

    def summary(self, name: str) -> ProjectSummary:
        """One project with its counts.

        Raises:
            NotFound: there is none of that name.
        """
        project = self.get(name)
        [row] = self._session.execute(
            _summaries(select(Project.__table__).where(Project.id == project.id))
        ).all()
        return ProjectSummary(*row)

    def delete(self, name: str) -> bool:
        """Delete a project with its sources and extractions, however long it takes; False if there was none.

        Their vectors stay until reconciliation, or whoever asked, removes them.
        """
        lift_time_limits(self._session)
        return rows_changed(self._session, delete(Project.__table__).where(Project.name == name)) > 0

    def _insert(self, name: str) -> bool:
        return bool(insert_new(self._session, Project.__table__, {"id": [project_id_of(name)], "name": [name]}))


def _summaries(projects: Select[Any]) -> Select[Any]:
    """These projects by name, each with its counts; nothing of others is counted."""
    page = projects.cte("page")
    sources = _counts(Source.project_id, page, func.count().label("all"))
    extractions = _counts(
        Extraction.project_id,
        page,
        func.count().label("all"),
        func.count(Extraction.embedding_id).label("indexed"),
    )
    counts = (sources.c["all"], extractions.c["all"], extractions.c.indexed)
    return (
        select(page.c.id, page.c.name, page.c.created_at, *(func.coalesce(count, 0) for count in counts))
        .outerjoin(sources, sources.c.project_id == page.c.id)
        .outerjoin(extractions, extractions.c.project_id == page.c.id)
        .order_by(page.c.name)
    )


def _counts(project: InstrumentedAttribute[ProjectId], page: CTE, *counts: ColumnElement[int]) -> Subquery:
    return select(project, *counts).where(project.in_(select(page.c.id))).group_by(project).subquery()


def _sources_lock(project_id: ProjectId) -> ColumnElement[int]:
    return func.hashtextextended(f"sources of {project_id}", 0)
