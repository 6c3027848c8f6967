"""How the texts were made that the vectors of the index stand for.

An index from before says ``version 1``: texts as they were made then, under settings that weren't noted. No version
since makes such texts, so that index is refused until a reindex.

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
