"""Columns of jobs for workers (schedule, failures, progress, uniqueness), and tables beside them.

The tables are for totals of jobs, paused types and idempotency keys.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from app.models import UtcDateTime, UuidText

revision = "0002"
down_revision = "0001"

OLD_OPEN_JOB = sa.text("status IN ('queued', 'running')")
OPEN_JOB = sa.text("status IN ('queued', 'running', 'cancelling')")
FINISHED_JOB = sa.text("completed_at IS NOT NULL")
UNIQUE_JOB = sa.text(f"unique_key IS NOT NULL AND {OPEN_JOB.text}")

ADDED = ("run_at", "failures", "lapses", "unique_key", "project_id", "done", "total")

# Durations in microseconds, as the job-duration strategies compute them. A table of revision 0001
# has few jobs.
_DURATION = {
    "sqlite": "CAST(round((julianday(substr(completed_at, 1, 19)) - julianday(substr(started_at, 1, 19))) * 86400)"
    " AS INTEGER) * 1000000"
    " + CAST(round((CAST(substr(completed_at, 20) AS REAL) - CAST(substr(started_at, 20) AS REAL)) * 1000000)"
    " AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM completed_at - started_at) * 1000000 AS BIGINT)",
}


def upgrade() -> None:
    """To this revision."""
    _widen_jobs()
    _create_indexes()
    _create_job_totals()
    op.create_table(
        "paused_job_types",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("paused_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("type", name="pk_paused_job_types"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", "part", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Back to the revision before."""
    for table in ("idempotency_keys", "paused_job_types", "job_totals"):
        op.drop_table(table)
    for index in ("uq_jobs_unique_key", "ix_jobs_finished", "ix_jobs_open", "ix_jobs_created_at_id"):
        op.drop_index(index, "jobs")
    for column in ADDED:
        op.drop_column("jobs", column)
    _create_partial_index("ix_jobs_open", [sa.text("priority DESC"), "created_at"], OLD_OPEN_JOB)


def _widen_jobs() -> None:
    for column in (
        sa.Column("run_at", UtcDateTime(), nullable=False, server_default="1970-01-01 00:00:00.000000+00:00"),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("lapses", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("unique_key", sa.Text(), nullable=True),
        sa.Column("project_id", UuidText(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("total", sa.Integer(), nullable=True),
    ):
        op.add_column("jobs", column)
    op.execute("UPDATE jobs SET run_at = created_at")


def _create_indexes() -> None:
    op.drop_index("ix_jobs_open", "jobs")
    _create_partial_index("ix_jobs_open", [sa.text("priority DESC"), "run_at"], OPEN_JOB)
    _create_partial_index("ix_jobs_finished", ["completed_at"], FINISHED_JOB)
    _create_partial_index("uq_jobs_unique_key", ["unique_key"], UNIQUE_JOB, unique=True)
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])


def _create_job_totals() -> None:
    op.create_table(
        "job_totals",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("jobs", sa.BigInteger(), nullable=False),
        sa.Column("timed", sa.BigInteger(), nullable=False),
        sa.Column("microseconds", sa.BigInteger(), nullable=False),
        sa.Column("least", sa.BigInteger(), nullable=True),
        sa.Column("greatest", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("type", "status", name="pk_job_totals"),
    )
    duration = f"CASE WHEN status = 'completed' THEN {_DURATION[op.get_bind().dialect.name]} END"
    op.execute(
        "INSERT INTO job_totals (type, status, jobs, timed, microseconds, least, greatest) "  # noqa: S608 - constants
        f"SELECT type, status, count(*), count({duration}), coalesce(sum({duration}), 0), min({duration}),"
        f" max({duration}) FROM jobs WHERE status IN ('completed', 'failed', 'cancelled') GROUP BY type, status"
    )


def _create_partial_index(
    name: str, columns: list[str | sa.TextClause], where: sa.TextClause, *, unique: bool = False
) -> None:
    op.create_index(name, "jobs", columns, unique=unique, sqlite_where=where, postgresql_where=where)
