"""Read a scrape's figures from SQL. Ended jobs add nothing to the cost.

See docs/decisions/metrics-cost.md.
"""

import time
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, literal_column, select, text
from sqlalchemy.orm import Session

from app.domain.jobs import JobStatus
from app.models import OPEN_JOB, ORPHANED, Extraction, Job, UtcDateTime
from app.services.metrics.snapshot import StoreSample
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.job_totals import JobTotalRepository

COUNT_AGAIN_AFTER = 10
"""A count of all extractions is cached for this many times as long as it took."""

_ORPHANS = select(func.count()).select_from(Extraction).where(text(ORPHANED))
_SET_ASIDE = select(func.count()).select_from(Extraction).where(Extraction.set_aside_reason.is_not(None))
_EXTRACTIONS = select(func.count()).select_from(Extraction)
# An expression, so that the planner doesn't scan the index on type and status, which also has all
# ended jobs.
_JOB_TYPE: ColumnElement[str] = (Job.type + literal_column("''")).label("job_type")


class StoreSampler:
    """Takes a sample on a session, in its transaction. Thread-safe.

    The number of extractions is counted again only after a while, because counting takes longer the
    more there are.
    """

    def __init__(self, dialect: str) -> None:
        self._now = select(now(dialect))
        self._extractions = 0
        self._count_at = 0.0

    def take(self, session: Session) -> StoreSample:
        """Read the figures in this transaction."""
        moment = session.execute(self._now).scalar_one()
        open_jobs, due = _open_jobs(session, moment)
        return StoreSample(
            totals=tuple(JobTotalRepository(session).all()),
            open_jobs=open_jobs,
            due_seconds={job_type: (moment - since).total_seconds() for job_type, since in due.items()},
            extractions=self._count_extractions(session),
            orphans=session.execute(_ORPHANS).scalar_one(),
            set_aside=session.execute(_SET_ASIDE).scalar_one(),
        )

    def _count_extractions(self, session: Session) -> int:
        started = time.monotonic()
        if started >= self._count_at:
            self._extractions = session.execute(_EXTRACTIONS).scalar_one()
            ended = time.monotonic()
            self._count_at = ended + COUNT_AGAIN_AFTER * (ended - started)
        return self._extractions


def _open_jobs(session: Session, moment: datetime) -> tuple[dict[tuple[str, str], int], dict[str, datetime]]:
    """Counts of open jobs by type and status, and the longest due time of queued ones by type."""
    due = (Job.status == JobStatus.QUEUED) & (Job.run_at <= moment)
    rows = session.execute(
        select(
            _JOB_TYPE,
            Job.status,
            func.count().label("jobs"),
            func.min(case((due, Job.run_at)), type_=UtcDateTime).label("since"),
        )
        .where(text(OPEN_JOB))
        .group_by(_JOB_TYPE, Job.status)
    ).all()
    counts = {(row.job_type, row.status): row.jobs for row in rows}
    return counts, {row.job_type: row.since for row in rows if row.since is not None}
