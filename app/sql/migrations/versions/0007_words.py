"""The words of extractions, for the full-text search.

A job for the next worker adds the words of stored extractions.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

from app.models import DROP_WORDS_INDEX_ON_SQLITE, GIN_OPTIONS, WORDS_INDEX_ON_SQLITE, UuidText
from app.sql.migrations.queueing import queue_job

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """To this revision."""
    op.create_table(
        "extraction_words",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("extraction_id", UuidText(), nullable=False),
        sa.Column("made_by", sa.Integer(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Text().with_variant(TSVECTOR(), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_extraction_words"),
        sa.ForeignKeyConstraint(
            ["extraction_id"],
            ["extractions.id"],
            name="fk_extraction_words_extraction_id_extractions",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_extraction_words_extraction_id", "extraction_words", ["extraction_id"], unique=True)
    if op.get_bind().dialect.name == "sqlite":
        for statement in WORDS_INDEX_ON_SQLITE:
            op.execute(statement)
    else:
        op.create_index(
            "ix_extraction_words_tokens",
            "extraction_words",
            ["tokens"],
            postgresql_using="gin",
            postgresql_with=GIN_OPTIONS,
        )
    if op.get_bind().execute(sa.text("SELECT 1 FROM extractions LIMIT 1")).first():
        queue_job("index_words")


def downgrade() -> None:
    """Back to 0006."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(DROP_WORDS_INDEX_ON_SQLITE)
    op.drop_table("extraction_words")
    op.execute("DELETE FROM jobs WHERE type = 'index_words'")
