"""Migrations: complete, repeatable, safe to run at once, and quiet."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text
from support.postgres import PostgresServer, open_test_engine

from app.errors import SchemaMismatch
from app.models import OF_DIALECT, Base
from app.sql import schema

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / '50% empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name, url = server.create(migrated=False)
    yield url
    server.drop(name)


@pytest.fixture
def empty_engine(empty_url: str) -> Iterator[Engine]:
    engine = open_test_engine(empty_url)
    yield engine
    engine.dispose()


def is_own(name: str | None, type_: str, _parents: object) -> bool:
    """Whether it is one of the models' tables, not an internal one of SQLite's full-text index."""
    return type_ != "table" or not str(name).startswith("extraction_words_index")


def is_of(dialect: str) -> Callable[..., bool]:
    """Whether databases of that dialect have it."""
    return lambda each, *_: getattr(each, "info", {}).get(OF_DIALECT, dialect) == dialect


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def indexes(engine: Engine) -> dict[str, str]:
    """How each is made, by name."""
    query = {
        "sqlite": "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    }
    with engine.connect() as connection:
        return {
            name: " ".join(sql.split()) for name, sql in connection.execute(text(query[engine.dialect.name]))
        }


def upgrade_in_process(url: str) -> None:
    engine = open_test_engine(url)
    schema.upgrade(engine)
    engine.dispose()


def test_autogenerate_finds_no_difference(engine: Engine) -> None:
    with engine.connect() as connection:
        dialect = connection.dialect.name
        opts = {"compare_type": True, "include_name": is_own, "include_object": is_of(dialect)}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Base.metadata) == []


def test_metadata_and_migrations_make_the_same_indexes(empty_engine: Engine) -> None:
    """Autogenerate doesn't compare the conditions of partial indexes."""
    schema.upgrade(empty_engine)
    migrated = indexes(empty_engine)
    Base.metadata.drop_all(empty_engine)
    Base.metadata.create_all(empty_engine)
    assert indexes(empty_engine) == migrated
    assert "DESC" in migrated["ix_jobs_open"]


def test_head_is_the_newest_revision() -> None:
    assert schema.known_revisions()[0] == schema.HEAD


def test_upgrade_makes_every_table(empty_engine: Engine) -> None:
    assert schema.current_revision(empty_engine) is None
    schema.upgrade(empty_engine)
    assert schema.current_revision(empty_engine) == schema.HEAD
    names = {name for name in inspect(empty_engine).get_table_names() if is_own(name, "table", None)}
    assert names == {*Base.metadata.tables, "alembic_version"}


def test_upgrade_again_changes_nothing(engine: Engine) -> None:
    schema.upgrade(engine)
    schema.check(engine)


def test_downgrade_leaves_no_table(engine: Engine) -> None:
    config = schema.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    schema.upgrade(engine)


@pytest.mark.slow
def test_processes_may_upgrade_at_once(empty_url: str) -> None:
    processes = [get_context("spawn").Process(target=upgrade_in_process, args=(empty_url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    engine = open_test_engine(empty_url)
    schema.check(engine)
    engine.dispose()


def test_check_refuses_an_unmigrated_database(empty_engine: Engine) -> None:
    with pytest.raises(SchemaMismatch, match="there is no store in this database yet"):
        schema.check(empty_engine)


def test_a_newer_database_is_refused_and_left_alone(engine: Engine) -> None:
    set_revision(engine, "9999")
    with pytest.raises(SchemaMismatch, match="9999"):
        schema.check(engine)
    with pytest.raises(SchemaMismatch, match=r"9999.*Install that version or a later one.*restore a backup"):
        schema.upgrade(engine)
    assert schema.current_revision(engine) == "9999"


def test_upgrade_configures_no_logging(empty_engine: Engine) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("sqlalchemy").level)
    schema.upgrade(empty_engine)
    assert (list(root.handlers), root.level, logging.getLogger("sqlalchemy").level) == before


@pytest.mark.slow
def test_a_database_that_is_up_to_date_needs_no_alembic(sqlite_url: str) -> None:
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from app.database import open_engine\n"
        "from app.settings.sections import DatabaseSettings\n"
        "from app.sql import schema\n"
        f"engine = open_engine(DatabaseSettings(url={sqlite_url!r}))\n"
        "schema.upgrade(engine); schema.check(engine); engine.dispose()\n"
        "print([name for name in ('alembic', 'psycopg') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )  # our own program
    assert done.stdout == "[]\n"
