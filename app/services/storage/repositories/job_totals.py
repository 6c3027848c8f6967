"""Totals of ended jobs, counted as they end, so that no rows need counting later."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

from sqlalchemy import Insert, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.domain.jobs import JobStatus
from app.models import JobTotal

_TABLE = JobTotal.__table__
_MICROSECOND = timedelta(microseconds=1)


class EndedJob(NamedTuple):
    """A job that has just ended."""

    type: str
    status: JobStatus
    started_at: datetime | None
    completed_at: datetime | None

    def microseconds(self) -> int | None:
        """How long a completed job took; None for the others."""
        if self.status != JobStatus.COMPLETED or self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Total:
    """The jobs of a type that ended in a status; ``timed`` have a duration, in microseconds."""

    type: str
    status: JobStatus
    jobs: int
    timed: int
    microseconds: int
    least: int | None
    greatest: int | None


class JobTotalRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, ended: Iterable[EndedJob]) -> None:
        """Count jobs that have just ended. Call it last in a transaction: it locks the types' rows.

        Types are locked in order, so that transactions don't deadlock.
        """
        groups: dict[tuple[str, JobStatus], list[int | None]] = {}
        for job in ended:
            groups.setdefault((job.type, job.status), []).append(job.microseconds())
        for (job_type, status), durations in sorted(groups.items()):
            timed = [duration for duration in durations if duration is not None]
            values = {
                "type": job_type,
                "status": status,
                "jobs": len(durations),
                "timed": len(timed),
                "microseconds": sum(timed),
                "least": min(timed, default=None),
                "greatest": max(timed, default=None),
            }
            self._session.execute(_counting(self._session.get_bind().dialect.name), values)

    def types(self) -> list[str]:
        """The types of all jobs that have ever ended, by name."""
        return list(self._session.scalars(select(_TABLE.c.type).distinct().order_by(_TABLE.c.type)))

    def all(self) -> list[Total]:
        """Every total, by type and status."""
        columns = [_TABLE.c[name] for name in Total.__dataclass_fields__]
        rows = self._session.execute(select(*columns).order_by(_TABLE.c.type, _TABLE.c.status))
        return [
            Total(job_type, JobStatus(status), jobs, timed, int(microseconds), least, greatest)
            for job_type, status, jobs, timed, microseconds, least, greatest in rows
        ]


@cache
def _counting(dialect: str) -> Insert:
    """The counting statement. Cached: building it takes longer than running it."""
    postgres = dialect == "postgresql"
    statement = (postgresql.insert if postgres else sqlite.insert)(_TABLE).values(
        {column.name: bindparam(column.name) for column in _TABLE.c}
    )
    new = statement.excluded
    smaller, larger = (func.least, func.greatest) if postgres else (func.min, func.max)
    # SQLite's min and max return NULL if any argument is; PostgreSQL's least and greatest skip it.
    least = func.coalesce(smaller(_TABLE.c.least, new.least), _TABLE.c.least, new.least)
    greatest = func.coalesce(larger(_TABLE.c.greatest, new.greatest), _TABLE.c.greatest, new.greatest)
    return statement.on_conflict_do_update(
        index_elements=[_TABLE.c.type, _TABLE.c.status],
        set_={
            "jobs": _TABLE.c.jobs + new.jobs,
            "timed": _TABLE.c.timed + new.timed,
            "microseconds": _TABLE.c.microseconds + new.microseconds,
            "least": least,
            "greatest": greatest,
        },
    )
