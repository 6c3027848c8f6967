"""Following jobs, and stepping in: for the API and the command line."""

from datetime import datetime

from app.database import Database, WriteSession
from app.models import JobId, JobStatus, JobType
from app.services.storage.repositories.job import JobFilters, JobRepository, JobRow
from app.services.storage.repositories.project import ProjectRepository
from app.services.wakeup import Wakeup

_PRUNED_AT_ONCE = 1_000

Cursor = tuple[datetime, JobId]
JobRows = list[JobRow]
JobTypes = list[str]


class JobService:
    """All jobs, whichever worker runs them."""

    def __init__(self, database: Database, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup

    async def get(self, job_id: JobId) -> JobRow:
        """One job as it stands.

        Raises:
            NotFound: there is none of that id.
        """
        return await self._database.read(lambda session: JobRepository(session).get_row(job_id))

    async def list(self, filters: JobFilters, *, after: Cursor | None = None, limit: int = 100) -> JobRows:
        """The newest jobs that pass the filters: the ``limit`` next after (created_at, id)."""
        return await self._database.read(
            lambda session: JobRepository(session).list(filters, after=after, limit=limit)
        )

    async def cancel(self, job_id: JobId) -> JobRow:
        """Cancel a job that waits at once; one that runs stops at its next batch. What it has done stays.

        Raises:
            NotFound: there is none of that id.
            JobStateConflict: it has ended.
        """

        def work(session: WriteSession) -> JobRow:
            JobRepository(session).cancel(job_id)
            return JobRepository(session).get_row(job_id)

        return await self._database.write(work)

    async def retry(self, job_id: JobId) -> JobRow:
        """Queue a failed or cancelled job again, or let one that waits for its next attempt go at once.

        Raises:
            NotFound: there is none of that id.
            JobStateConflict: it runs, has completed, or another one like it is open.
        """

        def work(session: WriteSession) -> JobRow:
            JobRepository(session).retry(job_id)
            return JobRepository(session).get_row(job_id)

        row = await self._database.write(work)
        self._wakeup.set()
        return row

    async def verify(self, project: str | None = None, *, repair: bool = False) -> JobRow:
        """Queue a comparison of the two stores, of one project or of all; the open one if there is one already.

        Raises:
            NotFound: there is no such project.
        """
        kind = JobType.REPAIR if repair else JobType.VERIFY

        def work(session: WriteSession) -> JobRow:
            owner = None if project is None else ProjectRepository(session).get(project).id
            jobs = JobRepository(session)
            unique = f"{kind}:{project or '*'}"
            job_id = jobs.create(kind, {"project": project}, project_id=owner, unique_key=unique)
            return jobs.get_row(job_id)

        row = await self._database.write(work)
        self._wakeup.set()
        return row

    async def prune(self, older_than_s: float) -> int:
        """Delete the jobs that ended longer ago than that, a thousand a transaction; returns how many."""
        pruned = 0
        while True:
            some = await self._database.write(
                lambda session: JobRepository(session).prune(older_than_s=older_than_s, limit=_PRUNED_AT_ONCE)
            )
            pruned += some
            if some < _PRUNED_AT_ONCE:
                return pruned

    async def pause(self, kind: str) -> None:
        """Let no worker claim jobs of this type; those that run go on."""
        await self._database.write(lambda session: JobRepository(session).pause(kind))

    async def resume(self, kind: str) -> None:
        """Let workers claim jobs of this type again."""
        await self._database.write(lambda session: JobRepository(session).resume(kind))
        self._wakeup.set()

    async def paused(self) -> JobTypes:
        """The types that are paused."""
        return await self._database.read(lambda session: JobRepository(session).paused())


def has_ended(row: JobRow) -> bool:
    """Whether nothing will happen to the job any more unless somebody retries it."""
    return row.status in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}
