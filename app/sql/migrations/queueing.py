"""Jobs that a migration queues for the next worker."""

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from app.models import OPEN_JOB, UtcDateTime, UuidText

_ZEROS = ("priority", "attempt", "failures", "lapses", "done")
_MOMENTS = ("created_at", "updated_at", "run_at")


def queue_job(type_: str) -> None:
    """Queue a job of a type, unless one is open already."""
    open_ = sa.text(f"SELECT 1 FROM jobs WHERE unique_key = :type AND {OPEN_JOB}")  # noqa: S608 - a constant
    if op.get_bind().execute(open_, {"type": type_}).first():
        return
    jobs = sa.table(
        "jobs",
        sa.column("id", UuidText),
        sa.column("type"),
        sa.column("status"),
        *(sa.column(name) for name in _ZEROS),
        *(sa.column(name, UtcDateTime) for name in _MOMENTS),
        sa.column("payload", sa.JSON),
        sa.column("unique_key"),
    )
    values: dict[str, object] = {"id": uuid4(), "type": type_, "status": "queued", "payload": {}}
    values |= dict.fromkeys(_ZEROS, 0) | dict.fromkeys(_MOMENTS, datetime.now(UTC))
    op.execute(jobs.insert().values(unique_key=type_, **values))
