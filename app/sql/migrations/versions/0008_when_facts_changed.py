"""The time of an extraction's last change, unknown for older ones, and an index for lists by time.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from app.models import UtcDateTime

revision = "0008"
down_revision = "0007"

_NEWEST = "ix_extractions_project_id_created_at_id"


def upgrade() -> None:
    """To this revision."""
    op.add_column("extractions", sa.Column("changed_at", UtcDateTime(), nullable=True))
    op.create_index(_NEWEST, "extractions", ["project_id", "created_at", "id"])


def downgrade() -> None:
    """Back to the one before."""
    op.drop_index(_NEWEST, "extractions")
    op.drop_column("extractions", "changed_at")
