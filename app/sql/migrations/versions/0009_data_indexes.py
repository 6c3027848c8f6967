"""Indexes on paths of the facts' documents, which the settings name; and words by newer rules.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from app.models import UuidText
from app.sql.migrations.queueing import queue_job

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "data_indexes",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("filled_to", UuidText(), nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_data_indexes"),
        sqlite_autoincrement=True,  # a job that still fills a dropped index must not find another
    )
    op.create_table(
        "data_keys",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("extraction_id", UuidText(), nullable=False),
        sa.PrimaryKeyConstraint("number", "key", "extraction_id", name="pk_data_keys"),
        sa.ForeignKeyConstraint(
            ["extraction_id"],
            ["extractions.id"],
            name="fk_data_keys_extraction_id_extractions",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_data_keys_extraction_id", "data_keys", ["extraction_id"])
    if op.get_bind().execute(sa.text("SELECT 1 FROM extractions LIMIT 1")).first():
        queue_job("index_words")


def downgrade() -> None:
    """Back to the one before."""
    op.drop_table("data_keys")
    op.drop_table("data_indexes")
    op.execute("DELETE FROM jobs WHERE type = 'index_data'")
