"""The identity of the rules by which the index's texts were composed.

An existing index gets ``version 1``: the rules before this revision, with unrecorded settings.
Later versions compose other texts, so that index is refused until a reindex.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """To this revision."""
    op.add_column("index_state", sa.Column("texts", sa.Text(), nullable=False, server_default="version 1"))


def downgrade() -> None:
    """Back to 0005."""
    with op.batch_alter_table("index_state") as table:
        table.drop_column("texts")
