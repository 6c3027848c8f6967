"""Look extractions up, and delete them with their vectors."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from app.database import Database, WriteSession
from app.models import ExtractionId, JobId, JobType, ProjectId
from app.services.storage.repositories.extraction import (
    ExtractionFilters,
    ExtractionRepository,
    ExtractionRow,
)
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.project import ProjectRepository
from app.services.wakeup import Wakeup

_A_JOB = 1_000

ExtractionRows = list[ExtractionRow]


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many extractions went, and the jobs that delete their vectors."""

    extractions: int
    job_ids: list[JobId]


class ExtractionService:
    """Extractions one by one, and a project's by filter."""

    def __init__(self, database: Database, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup

    async def get(self, extraction_id: ExtractionId) -> ExtractionRow:
        """One extraction.

        Raises:
            NotFound: there is none of that id.
        """
        return await self._database.read(lambda session: ExtractionRepository(session).get(extraction_id))

    async def list(
        self,
        project: str,
        filters: ExtractionFilters,
        *,
        after: ExtractionId | None = None,
        limit: int = 100,
    ) -> ExtractionRows:
        """A project's extractions that pass the filters, by id: the ``limit`` next after ``after``.

        Raises:
            NotFound: there is no such project.
            InvalidInput: a data filter can't be used.
        """
        return await self._database.read(
            lambda session: ExtractionRepository(session).list(
                ProjectRepository(session).get(project).id, filters, after=after, limit=limit
            )
        )

    async def delete(self, extraction_id: ExtractionId) -> Deleted:
        """Delete one extraction; its vector's deletion is queued in the same transaction.

        Raises:
            NotFound: there is none of that id.
        """

        def work(session: WriteSession) -> Deleted:
            row = ExtractionRepository(session).get(extraction_id)
            return delete_extractions(session, row.project_id, [extraction_id])

        return await self._deleting(work)

    async def delete_batch(self, project: str, ids: Sequence[ExtractionId | str]) -> Deleted:
        """Delete those of a project's extractions; ids that it doesn't have are ignored.

        Raises:
            NotFound: there is no such project.
        """

        def work(session: WriteSession) -> Deleted:
            return delete_extractions(session, ProjectRepository(session).get(project).id, ids)

        return await self._deleting(work)

    async def delete_matching(self, project: str, filters: ExtractionFilters) -> Deleted:
        """Delete a project's extractions that pass the filters, all in one transaction.

        Raises:
            NotFound: there is no such project.
            InvalidInput: a data filter can't be used.
        """

        def work(session: WriteSession) -> Deleted:
            owner = ProjectRepository(session).get(project).id
            extractions = ExtractionRepository(session)
            count, jobs, after = 0, list[JobId](), None
            while page := extractions.list_ids(owner, filters, after=after, limit=_A_JOB):
                deleted = delete_extractions(session, owner, page)
                count, jobs, after = count + deleted.extractions, jobs + deleted.job_ids, page[-1]
            return Deleted(count, jobs)

        return await self._deleting(work)

    async def _deleting(self, work: Callable[[WriteSession], Deleted]) -> Deleted:
        deleted = await self._database.write(work)
        self._wakeup.set()
        return deleted


def delete_extractions(session: WriteSession, owner: ProjectId, ids: Sequence[ExtractionId | str]) -> Deleted:
    """Delete a project's rows and queue the deletion of their vectors, in the caller's transaction."""
    count, job_ids = 0, list[JobId]()
    for start in range(0, len(ids), _A_JOB):
        gone = ExtractionRepository(session).delete_batch(ids[start : start + _A_JOB], project_id=owner)
        if gone:
            count += len(gone)
            job_ids.append(queue_vectors_deletion(session, gone, owner))
    return Deleted(count, job_ids)


def queue_vectors_deletion(
    session: WriteSession, ids: Collection[ExtractionId | str], owner: ProjectId | None = None
) -> JobId:
    """Queue the job that deletes these vectors, in the caller's transaction."""
    payload = {"extraction_ids": [str(id_) for id_ in ids]}
    return JobRepository(session).create(JobType.DELETE_VECTORS, payload, project_id=owner)
