"""Migrations: complete, repeatable, safe to run at once, and quiet."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

from app import schema
from app.models import Base


def test_autogenerate_finds_no_difference(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_head_is_the_newest_revision() -> None:
    assert schema.known_revisions()[0] == schema.HEAD
