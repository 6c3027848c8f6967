"""When an extraction changed last; those from before are taken for never changed.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from app.models import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """To this revision."""
    op.add_column("extractions", sa.Column("changed_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    """Back to the one before."""
    op.drop_column("extractions", "changed_at")
