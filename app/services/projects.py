"""Create, list and delete projects."""

from app.database import Database, WriteSession
from app.domain.filters import Filters
from app.domain.outcomes import Deleted
from app.domain.rows import ProjectSummaries, ProjectSummary
from app.services.jobs.queueing import IDS_A_JOB, queue_vectors_deletion
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.ledger import LedgerRepository
from app.services.storage.repositories.project import ProjectRepository
from app.services.wakeup import Wakeup


class ProjectService:
    """Creates, lists and deletes projects."""

    def __init__(self, database: Database, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup

    async def create(self, name: str) -> ProjectSummary:
        """Create an empty project.

        Raises:
            InvalidField: the name is invalid.
            ProjectExists: the name is taken.
        """

        def work(session: WriteSession) -> ProjectSummary:
            ProjectRepository(session).create(name)
            return ProjectRepository(session).summary(name)

        return await self._database.write(work)

    async def get(self, name: str) -> ProjectSummary:
        """One project with its counts.

        Raises:
            NotFound: the project doesn't exist.
        """
        return await self._database.read(lambda session: ProjectRepository(session).summary(name))

    async def list(self, *, after: str | None = None, limit: int | None = None) -> ProjectSummaries:
        """The projects by name, with counts: the next ``limit`` after ``after``; None is all."""
        return await self._database.read(
            lambda session: ProjectRepository(session).list(after=after, limit=limit)
        )

    async def delete(self, name: str) -> Deleted:
        """Delete a project's rows and queue the deletion of its vectors, in one transaction.

        Raises:
            NotFound: the project doesn't exist.
        """
        deleted = await self._database.write(lambda session: _delete(session, name))
        self._wakeup.set()
        return deleted


def _delete(session: WriteSession, name: str) -> Deleted:
    projects = ProjectRepository(session)
    project = projects.get(name, locked=True)
    extractions = ExtractionRepository(session)
    count, after, jobs = 0, None, []
    while page := extractions.list_ids(Filters(project.id), after=after, limit=IDS_A_JOB):
        jobs.append(queue_vectors_deletion(session, page, project.id))
        count, after = count + len(page), page[-1]
    LedgerRepository(session).delete_all(project.id)
    projects.delete(name)
    return Deleted(count, jobs)
