"""Follow and control jobs, for the API and the command line."""

from collections.abc import Collection
from datetime import datetime
from difflib import get_close_matches

from app.database import Database, WriteSession
from app.domain.ids import JobId
from app.domain.jobs import JobFilters, JobRow, JobRows, JobType, JobTypeNames
from app.domain.outcomes import Waited
from app.errors import InvalidField
from app.services.jobs.waiting import check_wait, wait_for_jobs
from app.services.storage.repositories.job import PRUNED_AT_ONCE, JobRepository
from app.services.storage.repositories.job_totals import JobTotalRepository
from app.services.storage.repositories.project import ProjectRepository
from app.services.wakeup import Wakeup

Cursor = tuple[datetime, JobId]


class JobService:
    """Follows and controls all jobs, whichever worker runs them."""

    def __init__(self, database: Database, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup

    async def get(self, job_id: JobId) -> JobRow:
        """One job.

        Raises:
            NotFound: no job has that id.
        """
        return await self._database.read(lambda session: JobRepository(session).get_row(job_id))

    async def wait(self, job_ids: Collection[JobId], seconds: float) -> Waited:
        """Wait until these jobs have ended, at most ``seconds``.

        Raises:
            InvalidField: ``seconds`` is longer than a minute.
        """
        check_wait(seconds)
        return await wait_for_jobs(self._database, job_ids, seconds)

    async def get_rows(self, job_ids: Collection[JobId]) -> JobRows:
        """The jobs with these ids, in any order; one statement."""
        return await self._database.read(lambda session: JobRepository(session).get_rows(job_ids))

    async def list(self, filters: JobFilters, *, after: Cursor | None = None, limit: int = 100) -> JobRows:
        """The newest jobs that pass the filters: the next ``limit`` after (created_at, id)."""
        return await self._database.read(
            lambda session: JobRepository(session).list(filters, after=after, limit=limit)
        )

    async def cancel(self, job_id: JobId) -> JobRow:
        """Cancel a queued job at once; a running one stops at its next batch. Finished work stays.

        Raises:
            NotFound: no job has that id.
            JobStateConflict: the job has ended.
        """

        def work(session: WriteSession) -> JobRow:
            JobRepository(session).cancel(job_id)
            return JobRepository(session).get_row(job_id)

        return await self._database.write(work)

    async def retry(self, job_id: JobId) -> JobRow:
        """Queue a failed or cancelled job again, or make a queued one due now.

        Raises:
            NotFound: no job has that id.
            JobStateConflict: the job is running or completed, or one with its key is open.
        """

        def work(session: WriteSession) -> JobRow:
            JobRepository(session).retry(job_id)
            return JobRepository(session).get_row(job_id)

        row = await self._database.write(work)
        self._wakeup.set()
        return row

    async def verify(self, project: str | None = None, *, repair: bool = False) -> JobRow:
        """Queue a comparison of the two stores, for one project or all, unless one is open.

        Returns the queued or open job.

        Raises:
            NotFound: the project doesn't exist.
        """
        job_type = JobType.REPAIR if repair else JobType.VERIFY

        def work(session: WriteSession) -> JobRow:
            project_id = None if project is None else ProjectRepository(session).get(project).id
            jobs = JobRepository(session)
            unique = f"{job_type}:{project or '*'}"
            job_id = jobs.create(job_type, {"project": project}, project_id=project_id, unique_key=unique)
            return jobs.get_row(job_id)

        row = await self._database.write(work)
        self._wakeup.set()
        return row

    async def reindex(self) -> JobRow:
        """Queue a rebuild of the whole index unless one is open; return the queued or open job."""

        def work(session: WriteSession) -> JobRow:
            jobs = JobRepository(session)
            return jobs.get_row(jobs.create(JobType.REINDEX, {}, unique_key=JobType.REINDEX))

        row = await self._database.write(work)
        self._wakeup.set()
        return row

    async def prune(self, older_than_s: float) -> int:
        """Delete jobs that ended longer ago than that, in several transactions; return how many."""
        pruned = 0
        while True:
            some = await self._database.write(
                lambda session: JobRepository(session).prune(older_than_s=older_than_s)
            )
            pruned += some
            if some < PRUNED_AT_ONCE:
                return pruned

    async def pause(self, job_type: str) -> None:
        """Keep workers from claiming jobs of this type; running jobs go on.

        Raises:
            InvalidField: it isn't a built-in type, and no job has ever had it.
        """

        def work(session: WriteSession) -> None:
            self._require_known(session, job_type)
            JobRepository(session).pause(job_type)

        await self._database.write(work)

    async def resume(self, job_type: str) -> None:
        """Allow workers to claim jobs of this type again; raises what :meth:`pause` raises."""

        def work(session: WriteSession) -> None:
            if not JobRepository(session).resume(job_type):
                self._require_known(session, job_type)

        await self._database.write(work)
        self._wakeup.set()

    async def paused(self) -> JobTypeNames:
        """The paused types."""
        return await self._database.read(lambda session: JobRepository(session).paused())

    def _require_known(self, session: WriteSession, job_type: str) -> None:
        known = {*JobType, *JobTotalRepository(session).types()}
        if job_type not in known and not JobRepository(session).has_type(job_type):
            [nearest] = get_close_matches(job_type[:100], known, n=1, cutoff=0.0)
            reason = (
                f"no job has ever been of type {job_type[:100]!r}; the nearest is {nearest}, "
                f"and there are {', '.join(sorted(known))}"
            )
            raise InvalidField("type", reason)
