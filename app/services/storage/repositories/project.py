"""The repository of projects: named groups of sources and their extractions."""

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
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def create(self, name: str) -> Project:
        """Create a project.

        Raises:
            InvalidField: the name is invalid.
            ProjectExists: the name is taken.
        """
        if not self._insert(name):
            raise ProjectExists(name)
        return self.get(name)

    def find(self, name: str) -> Project | None:
        """The project with that name, or None."""
        return self._session.scalar(select(Project).where(Project.name == name))

    def get(self, name: str, *, locked: bool = False) -> Project:
        """The project with that name; ``locked``, others can't store in it until the end.

        Raises:
            NotFound: the project doesn't exist.
        """
        query = select(Project).where(Project.name == name)
        project = self._session.scalar(query.with_for_update() if locked else query)
        if project is None:
            raise NotFound("project", name)
        return project

    def get_or_create(self, name: str) -> Project:
        """The project with that name, created if it doesn't exist; safe under concurrency.

        None of its sources is deleted until the transaction ends.

        Raises:
            InvalidInput: the name is invalid.
        """
        # A shared lock, so that the project isn't deleted before this transaction commits.
        held = self._adding(name).with_for_update(read=True, key_share=True)
        project: Project | None = self._session.scalar(held)
        if project is None:
            self._insert(name)
            made: Project = self._session.scalars(self._adding(name)).one()
            return made
        return project

    def hold_sources(self, project_id: ProjectId) -> None:
        """Exclude all transactions that add to the project until this one ends.

        Call it before deleting or restoring sources, and before any other lock. Otherwise, a
        transaction that adds to a source deleted meanwhile would store it again out of the order in
        which all transactions lock sources.
        """
        if self._dialect == "postgresql":
            self._session.execute(select(func.pg_advisory_xact_lock(_sources_lock(project_id))))

    def _adding(self, name: str) -> Select[Any]:
        """Select the project, and keep its sources from being deleted, in one statement."""
        query = select(Project).where(Project.name == name)
        if self._dialect == "postgresql":
            query = query.add_columns(func.pg_advisory_xact_lock_shared(_sources_lock(project_id_of(name))))
        return query

    def ids(self) -> "list[ProjectId]":
        """The ids of all projects."""
        return [*self._session.scalars(select(Project.id))]

    def list(self, *, after: str | None = None, limit: int | None = None) -> ProjectSummaries:
        """The projects by name, with counts: the next ``limit`` after ``after``; None is all."""
        chosen = true() if after is None else Project.name > after
        page = select(Project.__table__).where(chosen).order_by(Project.name).limit(limit)
        return [ProjectSummary(*row) for row in self._session.execute(_summaries(page))]

    def summary(self, name: str) -> ProjectSummary:
        """One project with its counts.

        Raises:
            NotFound: the project doesn't exist.
        """
        project = self.get(name)
        [row] = self._session.execute(
            _summaries(select(Project.__table__).where(Project.id == project.id))
        ).all()
        return ProjectSummary(*row)

    def delete(self, name: str) -> bool:
        """Delete a project with its sources and extractions; return False if it doesn't exist.

        There is no time limit. The vectors stay until the caller or a repair deletes them.
        """
        lift_time_limits(self._session)
        return rows_changed(self._session, delete(Project.__table__).where(Project.name == name)) > 0

    def _insert(self, name: str) -> bool:
        return bool(insert_new(self._session, Project.__table__, {"id": [project_id_of(name)], "name": [name]}))


def _summaries(projects: Select[Any]) -> Select[Any]:
    """These projects by name, with their counts; rows of other projects aren't read."""
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
