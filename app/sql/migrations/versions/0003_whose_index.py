"""The store's id, which marks its index, and the generation of the index's vectors.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from app.models import UuidText

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """To this revision."""
    op.add_column("index_state", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "store_identity",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("store_id", UuidText(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_store_identity"),
        sa.CheckConstraint("id = 1", name="single_row"),
    )


def downgrade() -> None:
    """Back to 0002."""
    op.drop_table("store_identity")
    with op.batch_alter_table("index_state") as table:
        table.drop_column("generation")
