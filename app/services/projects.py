"""List projects, and delete them with all they hold."""

from dataclasses import dataclass

from app.database import Database, WriteSession
from app.models import JobType
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.project import ProjectRepository, ProjectSummary

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many extractions went, and so how many vectors are queued for deletion."""

    extractions: int


class ProjectService:
    """Projects as a whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> list[ProjectSummary]:
        """Every project with its counts, by name."""
        return await self._database.read(lambda session: ProjectRepository(session).list())

    async def delete(self, name: str) -> Deleted:
        """Delete a project's rows and queue the deletion of its vectors, in one transaction.

        Raises:
            NotFound: there is no such project.
        """
        return await self._database.write(lambda session: _delete(session, name))


def _delete(session: WriteSession, name: str) -> Deleted:
    projects = ProjectRepository(session)
    project = projects.get(name)
    extractions, jobs = ExtractionRepository(session), JobRepository(session)
    count, after = 0, None
    while page := extractions.page_after(after, _PAGE, project_id=project.id):
        jobs.create(JobType.DELETE_VECTORS, {"extraction_ids": [str(mark.id) for mark in page]})
        count, after = count + len(page), page[-1].id
    projects.delete(name)
    return Deleted(count)
