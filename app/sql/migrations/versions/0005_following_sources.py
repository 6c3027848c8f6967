"""Following sources: metadata of extractions, observation times of sources, runs, and the ledger.

Data from before has no ledger entry; its history begins with this revision.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from app.models import UtcDateTime, UuidText

revision = "0005"
down_revision = "0004"

_ADDED = {
    "projects": ("last_change", "pruned_through"),
    "sources": ("observed_at",),
    "extractions": ("first_run_id", "last_run_id", "metadata"),
}


def upgrade() -> None:
    """To this revision."""
    for name in _ADDED["projects"]:
        op.add_column("projects", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("sources", sa.Column("observed_at", UtcDateTime(), nullable=True))
    for name in ("first_run_id", "last_run_id"):
        op.add_column("extractions", sa.Column(name, UuidText(), nullable=True))
    op.add_column("extractions", sa.Column("metadata", sa.JSON(), nullable=True))
    op.create_table(
        "runs",
        sa.Column("id", UuidText(), nullable=False),
        sa.Column("project_id", UuidText(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("undoes", UuidText(), nullable=True),
        sa.Column("first_change", sa.BigInteger(), nullable=True),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("added", "changed", "unchanged", "removed")
        ),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_runs_project_id_projects", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_runs_project_id_begun_at_id", "runs", ["project_id", "begun_at", "id"])
    op.create_table(
        "ledger",
        sa.Column("project_id", UuidText(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source_id", UuidText(), nullable=False),
        sa.Column("run_id", UuidText(), nullable=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("added", "changed", "removed", "size")),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "number", name="pk_ledger"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_ledger_source_id_number", "ledger", ["source_id", "number"])
    _create_partial_index("ix_ledger_run_id", ["run_id", "number"], "run_id IS NOT NULL")
    _create_partial_index("ix_ledger_removing", ["project_id", "number"], "removed > 0")


def downgrade() -> None:
    """Back to 0004."""
    op.drop_table("ledger")
    op.drop_table("runs")
    for table, columns in _ADDED.items():
        for column in columns:
            op.drop_column(table, column)


def _create_partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "ledger", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
