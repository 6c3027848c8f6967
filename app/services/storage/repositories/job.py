"""Jobs: work to do in the background, claimed under a lease."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.errors import LeaseLost, NotFound
from app.models import OPEN_JOB, ExtractionId, Job, JobId, JobStatus, parse_extraction_id
from app.services.storage.repositories.changes import rows_changed
from app.services.storage.repositories.clock import now

_TABLE = Job.__table__


class ClaimedJob(NamedTuple):
    """A job to run. ``attempt`` is the fence: it settles the job only while it is the job's newest."""

    id: JobId
    type: str
    payload: dict[str, Any]
    attempt: int

    def extraction_ids(self) -> list[ExtractionId]:
        """What an index job is about."""
        return [parse_extraction_id(text) for text in self.payload["extraction_ids"]]


class JobRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def create(self, type: str, payload: Mapping[str, Any], priority: int = 0) -> JobId:  # noqa: A002  # the column's name
        """Queue a job; a higher ``priority`` is claimed earlier."""
        job = Job(type=type, payload=dict(payload), priority=priority)
        self._session.add(job)
        self._session.flush()
        return job.id

    def get(self, job_id: JobId) -> Job:
        """One job.

        Raises:
            NotFound: there is none of that id.
        """
        job = self._session.get(Job, job_id, populate_existing=True)
        if job is None:
            raise NotFound("job", job_id)
        return job

    def claim(self, types: Sequence[str], *, limit: int, lease_s: float) -> list[ClaimedJob]:
        """Take up to ``limit`` jobs of these types to run: the highest priority first, then the oldest.

        A job can be had that is queued, or whose lease has run out. No two callers get one job.
        """
        moment = now(self._dialect)
        lapsed = (_TABLE.c.status == JobStatus.RUNNING) & (_TABLE.c.lease_expires_at < moment)
        kind = _TABLE.c.type + ""  # no column, so that the planner keeps to the index in the order of claims
        picked = (
            select(_TABLE.c.id)
            .where(text(OPEN_JOB), kind.in_(types), (_TABLE.c.status == JobStatus.QUEUED) | lapsed)
            .order_by(_TABLE.c.priority.desc(), _TABLE.c.created_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("picked")
        )
        claimed = (
            update(_TABLE)
            .where(_TABLE.c.id.in_(select(picked.c.id)))
            .values(
                status=JobStatus.RUNNING,
                attempt=_TABLE.c.attempt + 1,
                started_at=func.coalesce(_TABLE.c.started_at, moment),
                lease_expires_at=now(self._dialect, plus_s=lease_s),
                updated_at=moment,
            )
            .returning(_TABLE.c.priority, _TABLE.c.created_at, *(_TABLE.c[name] for name in ClaimedJob._fields))
        )
        rows = sorted(self._session.execute(claimed), key=lambda row: (-row.priority, row.created_at))
        return [ClaimedJob(*row[2:]) for row in rows]

    def requeue_running(self, types: Sequence[str]) -> int:
        """Put every running job of these types back in the queue; returns how many.

        For when no other process can be running them, so that a dead one left them.
        """
        left = (_TABLE.c.status == JobStatus.RUNNING) & _TABLE.c.type.in_(types)
        values = {"status": JobStatus.QUEUED, "lease_expires_at": None, "updated_at": now(self._dialect)}
        return rows_changed(self._session, update(_TABLE).where(text(OPEN_JOB), left).values(values))

    def complete(self, job_id: JobId, attempt: int, result: Mapping[str, Any] | None = None) -> None:
        """Settle a job as done.

        Raises:
            LeaseLost: ``attempt`` isn't the job's newest, or it isn't running.
        """
        done = {"status": JobStatus.COMPLETED, "result": result, "completed_at": now(self._dialect)}
        self._settle(job_id, attempt, done)

    def fail(self, job_id: JobId, attempt: int, error: str) -> None:
        """Settle a job as failed for good.

        Raises:
            LeaseLost: as for :meth:`complete`.
        """
        failed = {"status": JobStatus.FAILED, "error": error, "completed_at": now(self._dialect)}
        self._settle(job_id, attempt, failed)

    def release(self, job_id: JobId, attempt: int) -> None:
        """Put a job back in the queue, for another attempt.

        Raises:
            LeaseLost: as for :meth:`complete`.
        """
        self._settle(job_id, attempt, {"status": JobStatus.QUEUED})

    def renew(self, job_id: JobId, attempt: int, lease_s: float) -> None:
        """Let the lease run for another ``lease_s`` from now.

        Raises:
            LeaseLost: as for :meth:`complete`.
        """
        self._settle(job_id, attempt, {"lease_expires_at": now(self._dialect, plus_s=lease_s)})

    def counts(self) -> dict[tuple[str, JobStatus], int]:
        """How many jobs there are of each type in each status."""
        rows = self._session.execute(
            select(_TABLE.c.type, _TABLE.c.status, func.count()).group_by(_TABLE.c.type, _TABLE.c.status)
        )
        return {(kind, JobStatus(status)): count for kind, status, count in rows}

    def _settle(self, job_id: JobId, attempt: int, values: Mapping[str, Any]) -> None:
        held = (_TABLE.c.attempt == attempt) & (_TABLE.c.status == JobStatus.RUNNING)
        common = {"lease_expires_at": None, "updated_at": now(self._dialect)}
        settled = update(_TABLE).where(_TABLE.c.id == job_id, held).values({**common, **values})
        if not rows_changed(self._session, settled):
            raise LeaseLost(job_id, attempt)
