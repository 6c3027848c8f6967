"""Leases: which worker may run a job, and for how long. The workers' view of the jobs table.

A claim is a lease on the database's clock. Its attempt number is the fencing token: an older
attempt can't change a row.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    Integer,
    Row,
    TextClause,
    Update,
    bindparam,
    case,
    func,
    select,
    text,
    update,
)

from app.database import WriteSession
from app.domain.ids import JobId
from app.domain.jobs import FINAL_STATUSES, JobStatus
from app.errors import LeaseLost
from app.models import OPEN_JOB, Job, PausedJobType, UtcDateTime, UuidText
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.job_totals import EndedJob, JobTotalRepository
from app.services.storage.repositories.statements import rows_changed

MOST_LAPSES = 20
"""How many workers may die while running a job before the job is considered the cause."""

CLOCK_TOLERANCE_S = 10.0
"""How far the database's clock may go back before jobs' times are corrected."""

_TABLE = Job.__table__
_PAUSED = PausedJobType.__table__
_HELD = ("running", "cancelling")


class ClaimedJob(NamedTuple):
    """A job to run. ``attempt`` is the fencing token; ``failures`` counts failed attempts."""

    id: JobId
    type: str
    payload: dict[str, Any]
    attempt: int
    failures: int


class Settlement(NamedTuple):
    """How an attempt ended. If ``queued``, the job may be claimed again after ``delay_s``."""

    id: JobId
    attempt: int
    status: JobStatus
    result: Mapping[str, Any] | None = None
    error: str | None = None
    failures: int = 0
    delay_s: float = 0.0

    def as_row(self) -> dict[str, Any]:
        """The JSON members. A missing result is left out: a null would be stored as JSON."""
        row = self._asdict()
        if self.result is None:
            del row["result"]
        return row


class LeaseRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def claim(self, types: Sequence[str], *, limit: int, lease_s: float) -> list[ClaimedJob]:
        """Claim up to ``limit`` jobs of these types: highest priority first, then longest due.

        Jobs that are queued and due, or whose lease has expired, can be claimed unless their type
        is paused. No two callers get the same job.
        """
        claimed = self._session.execute(
            _claiming(self._dialect, tuple(types)), {"most": limit, "lease": lease_s}
        )
        rows = sorted(claimed, key=lambda row: (-row.priority, row.run_at))
        return [ClaimedJob(*row[2:]) for row in rows]

    def hold(self, job_id: JobId, attempt: int, *, lease_s: float, done: int, total: int | None) -> JobStatus:
        """Make sure that the attempt still holds its lease, renew it, and store the progress.

        Call it in the transaction that writes the attempt's work, so that an attempt that has lost
        its lease writes nothing.

        Returns:
            The job's status: ``cancelling`` if it was asked to stop.

        Raises:
            LeaseLost: ``attempt`` isn't the job's newest, or the job isn't running.
        """
        status = self._session.scalar(
            _held(job_id, attempt)
            .values(
                lease_expires_at=now(self._dialect, plus_s=lease_s),
                updated_at=now(self._dialect),
                done=done,
                total=total,
            )
            .returning(_TABLE.c.status)
        )
        if status is None:
            raise LeaseLost(job_id, attempt)
        return JobStatus(status)

    def renew(self, held: Sequence[tuple[JobId, int]], lease_s: float) -> dict[JobId, JobStatus]:
        """Renew the leases of these (id, attempt) for ``lease_s`` from now; one statement.

        Returns:
            The status of each job whose lease is still held; the other leases are lost.
        """
        rows = orjson.dumps([{"id": id_, "attempt": attempt} for id_, attempt in held]).decode()
        renewed = self._session.execute(_renewing(self._dialect), {"rows": rows, "lease": lease_s})
        return {row.id: JobStatus(row.status) for row in renewed}

    def settle(self, settlements: Sequence[Settlement]) -> set[JobId]:
        """End the attempts whose leases are held, in one statement; return the ids of their jobs.

        A job that would be queued again is cancelled instead if its cancellation was requested.
        """
        ended = self._end(settlements)
        self._count(ended)
        return {row.id for row in ended}

    def _end(self, settlements: Sequence[Settlement]) -> Sequence[Row[Any]]:
        if not settlements:
            return []
        rows = orjson.dumps([settlement.as_row() for settlement in settlements]).decode()
        return self._session.execute(_settling(self._dialect), {"rows": rows}).all()

    def _count(self, ended: Sequence[Row[Any]]) -> None:
        JobTotalRepository(self._session).add(
            EndedJob(row.type, JobStatus(row.status), row.started_at, row.completed_at)
            for row in ended
            if row.status in FINAL_STATUSES
        )

    def complete(self, settlement: Settlement, effect: Callable[[WriteSession], None]) -> None:
        """End one attempt, and call ``effect`` to write its outcome in the same transaction.

        Raises:
            LeaseLost: the attempt has lost its lease; ``effect`` wasn't called.
        """
        ended = self._end([settlement])
        if not ended:
            raise LeaseLost(settlement.id, settlement.attempt)
        effect(self._session)
        self._count(ended)

    def sweep(self) -> int:
        """End the jobs that no worker may claim again, and return how many.

        These are cancelling jobs whose lease has expired, and jobs whose workers keep dying.
        """
        moment = now(self._dialect)
        kills = _TABLE.c.lapses >= MOST_LAPSES
        cancelling = _TABLE.c.status == JobStatus.CANCELLING
        swept = self._session.execute(
            update(_TABLE)
            .where(text(OPEN_JOB), _TABLE.c.lease_expires_at < moment)
            .where(cancelling | (kills & (_TABLE.c.status == JobStatus.RUNNING)))
            .values(
                status=case((cancelling, JobStatus.CANCELLED), else_=JobStatus.FAILED),
                error=case((cancelling, _TABLE.c.error), else_=f"its worker went silent {MOST_LAPSES} times"),
                lease_expires_at=None,
                completed_at=moment,
                updated_at=moment,
            )
            .returning(_TABLE.c.type, _TABLE.c.status, _TABLE.c.started_at, _TABLE.c.completed_at)
        ).all()
        JobTotalRepository(self._session).add(
            EndedJob(job_type, JobStatus(status), started_at, completed_at)
            for job_type, status, started_at, completed_at in swept
        )
        return len(swept)

    def expire_all(self) -> int:
        """Expire all leases, and return how many; only if all their holders must be dead."""
        running = update(_TABLE).where(text(OPEN_JOB), _TABLE.c.status.in_(_HELD))
        over = {"lease_expires_at": now(self._dialect, plus_s=-1.0), "updated_at": now(self._dialect)}
        return rows_changed(self._session, running.values(over))

    def follow_clock(self) -> int:
        """Correct the times of open jobs after the database's clock was set back; return how many.

        These jobs were last changed in the future. Their due times and lease ends are moved back by
        as much as the clock was; a lease that was renewed since stays.
        """
        return len(self._session.execute(_following(self._dialect)).all())


def _held(job_id: JobId, attempt: int) -> Update:
    return update(_TABLE).where(_TABLE.c.id == job_id, _TABLE.c.attempt == attempt, _TABLE.c.status.in_(_HELD))


@cache
def _claiming(dialect: str, types: tuple[str, ...]) -> Update:
    """The claiming statement. Cached: building it takes as long as running it."""
    moment = now(dialect)
    due = (_TABLE.c.status == JobStatus.QUEUED) & (_TABLE.c.run_at <= moment)
    running = _TABLE.c.status == JobStatus.RUNNING
    lapsed = running & (_TABLE.c.lease_expires_at < moment) & (_TABLE.c.lapses < MOST_LAPSES)
    # An expression, so that the planner doesn't leave the index that has the order of claims.
    job_type = _TABLE.c.type + ""
    picked = (
        select(_TABLE.c.id)
        .where(text(OPEN_JOB), job_type.in_(types), job_type.not_in(select(_PAUSED.c.type)), due | lapsed)
        .order_by(_TABLE.c.priority.desc(), _TABLE.c.run_at)
        .limit(bindparam("most", type_=Integer))
        .with_for_update(skip_locked=True, of=_TABLE)
        .cte("picked")
    )
    return (
        update(_TABLE)
        .where(_TABLE.c.id.in_(select(picked.c.id)))
        .values(
            status=JobStatus.RUNNING,
            attempt=_TABLE.c.attempt + 1,
            lapses=_TABLE.c.lapses + case((running, 1), else_=0),
            started_at=func.coalesce(_TABLE.c.started_at, moment),
            lease_expires_at=text(_LATER[dialect].format(seconds=":lease")),
            updated_at=moment,
        )
        .returning(_TABLE.c.priority, _TABLE.c.run_at, *(_TABLE.c[name] for name in ClaimedJob._fields))
    )


_NOW = {"postgresql": "clock_timestamp()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')"}
_LATER = {
    "postgresql": "clock_timestamp() + make_interval(secs => CAST({seconds} AS double precision))",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now', printf('%+.3f seconds', {seconds}))",
}
_EARLIER = {
    "postgresql": "{moment} - (updated_at - clock_timestamp())",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', {moment}, printf('%+.3f seconds', "
    f"(julianday({_NOW['sqlite']}) - julianday(updated_at)) * 86400))",
}
_ROWS = {
    "postgresql": "json_to_recordset(CAST(:rows AS json)) AS s"
    "(id uuid, attempt int, status text, result json, error text, failures int, delay_s float)",
    "sqlite": "(SELECT value ->> '$.id' AS id, value ->> '$.attempt' AS attempt, value ->> '$.status' AS status,"
    " value -> '$.result' AS result, value ->> '$.error' AS error, value ->> '$.failures' AS failures,"
    " value ->> '$.delay_s' AS delay_s FROM json_each(:rows)) AS s",
}
_FENCED = "jobs.id = s.id AND jobs.attempt = s.attempt AND jobs.status IN ('running', 'cancelling')"


@cache
def _settling(dialect: str) -> TextClause:
    again = "s.status = 'queued' AND jobs.status <> 'cancelling'"
    statement = (
        "UPDATE jobs SET "  # noqa: S608 - constants
        f"status = CASE WHEN s.status = 'queued' AND jobs.status = 'cancelling' THEN 'cancelled' ELSE s.status END, "
        "result = s.result, error = s.error, failures = jobs.failures + s.failures, lease_expires_at = NULL, "
        f"updated_at = {_NOW[dialect]}, "
        f"completed_at = CASE WHEN {again} THEN NULL ELSE {_NOW[dialect]} END, "
        f"run_at = CASE WHEN {again} THEN {_LATER[dialect].format(seconds='s.delay_s')} ELSE jobs.run_at END "
        f"FROM {_ROWS[dialect]} WHERE {_FENCED} "
        "RETURNING jobs.id, jobs.type, jobs.status, jobs.started_at, jobs.completed_at"
    )
    return text(statement).columns(id=UuidText, started_at=UtcDateTime, completed_at=UtcDateTime)  # type: ignore[return-value]  # still a text, with types


@cache
def _following(dialect: str) -> TextClause:
    earlier = _EARLIER[dialect]
    return text(
        f"UPDATE jobs SET run_at = {earlier.format(moment='run_at')}, "  # noqa: S608 - constants
        f"lease_expires_at = CASE WHEN lease_expires_at > updated_at THEN {earlier.format(moment='lease_expires_at')} "
        f"ELSE lease_expires_at END, updated_at = {_NOW[dialect]} "
        f"WHERE {OPEN_JOB} AND updated_at > {_LATER[dialect].format(seconds=CLOCK_TOLERANCE_S)} RETURNING id"
    )


@cache
def _renewing(dialect: str) -> TextClause:
    statement = (
        f"UPDATE jobs SET lease_expires_at = {_LATER[dialect].format(seconds=':lease')} "  # noqa: S608 - constants
        f"FROM {_ROWS[dialect]} WHERE {_FENCED} RETURNING jobs.id, jobs.status"
    )
    return text(statement).columns(id=UuidText)  # type: ignore[return-value]  # still a text, with types
