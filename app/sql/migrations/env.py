"""Alembic's environment: it runs the revisions on the connection that ``app.sql.schema`` passes.

The caller owns the connection and its transaction.
"""

from alembic import context

from app.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
