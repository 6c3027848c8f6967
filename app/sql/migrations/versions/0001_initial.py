"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from app.models import UtcDateTime, UuidText

revision = "0001"
down_revision = None

ORPHANED = sa.text("embedding_id IS NULL AND set_aside_reason IS NULL")
SET_ASIDE = sa.text("set_aside_reason IS NOT NULL")
OPEN_JOB = sa.text("status IN ('queued', 'running')")


def upgrade() -> None:
    """To this revision."""
    _create_projects()
    _create_sources()
    _create_extractions()
    _create_jobs()
    _create_index_state()


def downgrade() -> None:
    """Back to an empty database."""
    for table in ("index_state", "jobs", "extractions", "sources", "projects"):
        op.drop_table(table)


def _create_projects() -> None:
    op.create_table(
        "projects",
        sa.Column("id", UuidText(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )


def _create_sources() -> None:
    op.create_table(
        "sources",
        sa.Column("id", UuidText(), nullable=False),
        sa.Column("project_id", UuidText(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("source_group", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_sources_project_id_projects", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("project_id", "uri", name="uq_sources_project_id_uri"),
    )
    op.create_index("ix_sources_project_id_source_group", "sources", ["project_id", "source_group"])


def _create_extractions() -> None:
    op.create_table(
        "extractions",
        sa.Column("id", UuidText(), nullable=False),
        sa.Column("project_id", UuidText(), nullable=False),
        sa.Column("source_id", UuidText(), nullable=False),
        sa.Column("extraction_type", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(53), nullable=True),
        sa.Column("embedding_id", sa.Text(), nullable=True),
        sa.Column("set_aside_reason", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_extractions"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_extractions_project_id_projects", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name="fk_extractions_source_id_sources", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_extractions_project_id_id", "extractions", ["project_id", "id"])
    op.create_index("ix_extractions_source_id", "extractions", ["source_id"])
    _create_partial_index("ix_extractions_orphaned", "extractions", ["id"], ORPHANED)
    _create_partial_index("ix_extractions_set_aside", "extractions", ["id"], SET_ASIDE)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", UuidText(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", UtcDateTime(), nullable=True),
        sa.Column("cancel_requested_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'completed', 'failed', 'cancelling', 'cancelled')",
            name="ck_jobs_status",
        ),
    )
    op.create_index("ix_jobs_type_status", "jobs", ["type", "status"])
    _create_partial_index("ix_jobs_open", "jobs", [sa.text("priority DESC"), "created_at"], OPEN_JOB)


def _create_index_state() -> None:
    op.create_table(
        "index_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("embedder_name", sa.Text(), nullable=False),
        sa.Column("embedder_version", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("rebuilding", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_index_state"),
        sa.CheckConstraint("id = 1", name="ck_index_state_single_row"),
    )


def _create_partial_index(
    name: str, table: str, columns: list[str | sa.TextClause], where: sa.TextClause
) -> None:
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
