"""The repository of jobs: background work, as seen by the code that queues and follows it."""

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.domain.ids import JobId, ProjectId, project_id_of
from app.domain.jobs import JobFilters, JobRow, JobRows, JobStatus, JobTypeNames
from app.errors import JobStateConflict, NotFound
from app.models import FINISHED_JOB, OPEN_JOB, Job, PausedJobType, UtcDateTime, UuidText
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.id_lists import among
from app.services.storage.repositories.job_totals import EndedJob, JobTotalRepository
from app.services.storage.repositories.statements import rows_changed

CHANNEL = "agent_storage_jobs"
"""The channel on which PostgreSQL notifies listening workers of new jobs."""

PRUNED_AT_ONCE = 1_000
"""The most jobs that a transaction deletes, so that it doesn't hold the write lock for long."""

_TABLE = Job.__table__
_PAUSED = PausedJobType.__table__
_RETRYABLE = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED)


_ROW = tuple(_TABLE.c[name] for name in JobRow._fields)


class JobRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def create(  # noqa: PLR0913 - each is a column
        self,
        type: str,  # noqa: A002 - the column's name
        payload: Mapping[str, Any],
        priority: int = 0,
        *,
        project_id: ProjectId | None = None,
        unique_key: str | None = None,
        delay_s: float = 0.0,
    ) -> JobId:
        """Queue a job, due in ``delay_s``; a higher ``priority`` is claimed earlier.

        If a job with the same ``unique_key`` is open, nothing is queued, and its id is returned.
        """
        found = None if unique_key is None else self._open_with(unique_key)
        if found is not None:
            return found
        moment = now(self._dialect)
        insert = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        statement = insert(_TABLE).values(
            id=(job_id := JobId(uuid.uuid4())),
            type=type,
            payload=dict(payload),
            priority=priority,
            project_id=project_id,
            unique_key=unique_key,
            run_at=now(self._dialect, plus_s=delay_s),
            created_at=moment,
            updated_at=moment,
        )
        if self._session.scalar(statement.on_conflict_do_nothing().returning(_TABLE.c.id)) is None:
            # Another transaction has just queued one with this key.
            return self._open_with(unique_key or "") or self.create(
                type, payload, priority, project_id=project_id, unique_key=unique_key, delay_s=delay_s
            )
        self._tell_workers()
        return job_id

    def get(self, job_id: JobId) -> Job:
        """One job.

        Raises:
            NotFound: no job has that id.
        """
        job = self._session.get(Job, job_id, populate_existing=True)
        if job is None:
            raise NotFound("job", job_id)
        return job

    def get_row(self, job_id: JobId) -> JobRow:
        """One job without its payload.

        Raises:
            NotFound: no job has that id.
        """
        found = self._session.execute(select(*_ROW).where(Job.id == job_id)).one_or_none()
        if found is None:
            raise NotFound("job", job_id)
        return JobRow(*found)

    def get_rows(self, job_ids: Collection[JobId]) -> JobRows:
        """The jobs with these ids, without their payloads, in any order; any number of ids."""
        rows = self._session.execute(select(*_ROW).where(among(_TABLE.c.id, job_ids, self._dialect)))
        return [JobRow(*row) for row in rows]

    def statuses(self, job_ids: Collection[JobId]) -> dict[JobId, JobStatus]:
        """The statuses of the jobs with these ids; one statement."""
        query = select(_TABLE.c.id, _TABLE.c.status).where(among(_TABLE.c.id, job_ids, self._dialect))
        return {row.id: JobStatus(row.status) for row in self._session.execute(query)}

    def list(self, filters: JobFilters, *, after: tuple[datetime, JobId] | None = None, limit: int) -> JobRows:
        """The jobs that pass the filters, newest first: the next ``limit`` after (created_at, id).

        Raises:
            InvalidField: the project name in the filters is invalid.
        """
        query = select(*_ROW).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
        if filters.types:
            query = query.where(Job.type.in_(filters.types))
        if filters.statuses:
            query = query.where(Job.status.in_(filters.statuses))
        if filters.project is not None:
            query = query.where(Job.project_id == project_id_of(filters.project))
        if after is not None:
            place = (bindparam(None, after[0], UtcDateTime), bindparam(None, after[1], UuidText))
            query = query.where(tuple_(Job.created_at, Job.id) < tuple_(*place))
        return [JobRow(*row) for row in self._session.execute(query)]

    def cancel(self, job_id: JobId) -> JobStatus:
        """Cancel a queued job, or ask a running one to stop at its next batch; return the status.

        Raises:
            NotFound: no job has that id.
            JobStateConflict: the job has ended.
        """
        moment = now(self._dialect)
        waiting = update(_TABLE).where(_TABLE.c.id == job_id, _TABLE.c.status == JobStatus.QUEUED)
        cancelled = {"status": JobStatus.CANCELLED, "completed_at": moment, "updated_at": moment}
        ended = self._session.execute(waiting.values(cancelled).returning(_TABLE.c.type)).all()
        JobTotalRepository(self._session).add(
            EndedJob(row.type, JobStatus.CANCELLED, None, None) for row in ended
        )
        if ended:
            return JobStatus.CANCELLED
        running = update(_TABLE).where(_TABLE.c.id == job_id, _TABLE.c.status == JobStatus.RUNNING)
        asked = {"status": JobStatus.CANCELLING, "cancel_requested_at": moment, "updated_at": moment}
        if not rows_changed(self._session, running.values(asked)):
            status = JobStatus(self.get(job_id).status)
            if status != JobStatus.CANCELLING:
                raise JobStateConflict(job_id, status, "cancelled")
        return JobStatus.CANCELLING

    def retry(self, job_id: JobId) -> None:
        """Queue a failed or cancelled job again, or make a queued one due now.

        Raises:
            NotFound: no job has that id.
            JobStateConflict: the job is running or completed, or one with its key is open.
        """
        moment = now(self._dialect)
        again = {
            "status": JobStatus.QUEUED,
            "failures": 0,
            "lapses": 0,
            "run_at": moment,
            "updated_at": moment,
            "started_at": None,
            "completed_at": None,
            "cancel_requested_at": None,
        }
        chosen = update(_TABLE).where(_TABLE.c.id == job_id, _TABLE.c.status.in_(_RETRYABLE))
        try:
            with self._session.begin_nested():
                changed = rows_changed(self._session, chosen.values(again))
        except IntegrityError:
            raise JobStateConflict(job_id, "superseded by an open job of its kind", "retried") from None
        if not changed:
            raise JobStateConflict(job_id, JobStatus(self.get(job_id).status), "retried")
        self._tell_workers()

    def prune(self, *, older_than_s: float, limit: int = PRUNED_AT_ONCE) -> int:
        """Delete up to ``limit`` jobs that ended longer ago than that, and return how many."""
        old = (
            select(_TABLE.c.id)
            .where(text(FINISHED_JOB), _TABLE.c.completed_at < now(self._dialect, plus_s=-older_than_s))
            .order_by(_TABLE.c.completed_at)
            .limit(limit)
        )
        # Check the status again: PostgreSQL may have waited for a transaction that retries one.
        return rows_changed(self._session, delete(_TABLE).where(_TABLE.c.id.in_(old), text(FINISHED_JOB)))

    def counts(self) -> dict[tuple[str, JobStatus], int]:
        """The number of jobs of each type in each status."""
        rows = self._session.execute(
            select(_TABLE.c.type, _TABLE.c.status, func.count()).group_by(_TABLE.c.type, _TABLE.c.status)
        )
        return {(job_type, JobStatus(status)): count for job_type, status, count in rows}

    def has_type(self, type: str) -> bool:  # noqa: A002 - the column's name
        """Whether there is a job of this type."""
        return self._session.scalar(select(exists().where(_TABLE.c.type == type))) or False

    def pause(self, type: str) -> None:  # noqa: A002 - the column's name
        """Keep workers from claiming jobs of this type until :meth:`resume`."""
        insert = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        self._session.execute(insert(_PAUSED).values(type=type).on_conflict_do_nothing())

    def resume(self, type: str) -> bool:  # noqa: A002 - the column's name
        """Allow workers to claim jobs of this type again; return False if it wasn't paused."""
        resumed = rows_changed(self._session, delete(_PAUSED).where(_PAUSED.c.type == type)) > 0
        self._tell_workers()
        return resumed

    def paused(self) -> JobTypeNames:
        """The paused types, by name."""
        return list(self._session.scalars(select(_PAUSED.c.type).order_by(_PAUSED.c.type)))

    def _open_with(self, unique_key: str) -> JobId | None:
        return self._session.scalar(
            select(Job.id).where(text("unique_key IS NOT NULL"), text(OPEN_JOB), Job.unique_key == unique_key)
        )

    def _tell_workers(self) -> None:
        """Notify workers when the transaction commits. Repeats within it are delivered once."""
        if self._dialect == "postgresql":
            self._session.execute(select(func.pg_notify(CHANNEL, "")))
