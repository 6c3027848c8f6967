"""Upgrading a database to this version's schema, and checking its revision.

Alembic is only imported for a migration. To change the schema, change ``app/models.py``, add a
revision to ``app/sql/migrations/versions``, and name it in ``HEAD``.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from app.errors import DatabaseForeign, SchemaMismatch
from app.models import Base, Extraction, Project, Source
from app.sql.errors import translated_errors
from app.sql.postgres import NO_TIME_LIMITS
from app.sql.sqlite import foreign_keys_off
from app.sql.transactions import WRITING

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0009"
"""The newest revision, which this version works with."""

_FIRST_TABLES = {each.__tablename__ for each in (Project, Source, Extraction)}
_SCRIPTS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x6167656E74  # any number, the same in every process


def current_revision(engine: Engine) -> str | None:
    """Return the database's revision; None if it was never migrated."""
    with translated_errors(engine), engine.connect() as connection:
        return _revision(connection)


def check(engine: Engine) -> None:
    """Check that the database is at :data:`HEAD`.

    Raises:
        SchemaMismatch: the database is at another revision.
        DatabaseForeign: the database belongs to another application.
    """
    with translated_errors(engine), engine.connect() as connection:
        found = _revision(connection)
        _refuse_foreign_tables(connection, found)
        if found != HEAD:
            raise SchemaMismatch(found, HEAD)


def upgrade(engine: Engine) -> None:
    """Migrate to :data:`HEAD` in one transaction; several processes may do so at once.

    Raises:
        SchemaMismatch: the database is newer than this version.
        DatabaseForeign: the database belongs to another application.
    """
    with translated_errors(engine), engine.connect() as connection:
        found = _revision(connection)
        _refuse_foreign_tables(connection, found)
        if found == HEAD:
            return
    with translated_errors(engine), _migrating(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(NO_TIME_LIMITS)  # before waiting for other migrations
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        _migrate(connection)


@contextmanager
def _migrating(engine: Engine) -> Iterator[Connection]:
    with engine.execution_options(**WRITING[engine.dialect.name]).connect() as connection:
        remaking = foreign_keys_off(connection) if engine.dialect.name == "sqlite" else nullcontext()
        with remaking, connection.begin():
            yield connection


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _refuse_foreign_tables(connection: Connection, revision: str | None) -> None:
    """Refuse tables of another application that have this schema's names."""
    tables = set(inspect(connection).get_table_names())
    if revision is None:
        if taken := sorted(tables & Base.metadata.tables.keys()):
            raise DatabaseForeign(f"{', '.join(taken)}, without a revision of agent-storage")
    elif not tables >= _FIRST_TABLES:
        raise DatabaseForeign(f"alembic_version at {revision}, without the tables of agent-storage")


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and seldom needed

    config = alembic_config()
    config.attributes["connection"] = connection
    found = _revision(connection)
    if found is not None and found not in known_revisions():
        raise SchemaMismatch(found, HEAD)
    command.upgrade(config, "head")


def known_revisions() -> list[str]:
    """Return this version's revisions, newest first."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - likewise

    return [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]


def alembic_config() -> "Config":
    """Make Alembic's ``Config`` for the package's revisions, without an ini file or logging."""
    from alembic.config import Config  # noqa: PLC0415 - likewise

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config
