"""Databases of other programs or without permissions: clear errors, and nothing is changed."""

import uuid
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool
from support.postgres import PostgresServer, open_test_engine

from app.errors import DatabaseError, DatabaseForbidden, DatabaseForeign, DatabaseSchemaAbsent
from app.sql import schema
from app.sql.errors import translated_errors

ROLE = f"agent_{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database without tables."""
    if request.param == "sqlite":
        engine = open_test_engine(f"sqlite:///{tmp_path_factory.mktemp('a') / 'a.db'}")
        yield engine
        engine.dispose()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name, url = server.create(migrated=False)
    engine = open_test_engine(url)
    yield engine
    engine.dispose()
    server.drop(name)


def executed(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


ANOTHER = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
    "CREATE TABLE invoices (id INTEGER)",
)


@pytest.mark.parametrize("revision", ["ab12cd34ef56", "0001", schema.HEAD])
def test_another_application_s_revision_is_told(engine: Engine, revision: str) -> None:
    """It may have the same name as a revision of agent-storage."""
    executed(engine, *ANOTHER, f"INSERT INTO alembic_version VALUES ('{revision}')")  # noqa: S608 - of this test
    before = tables(engine)
    with pytest.raises(DatabaseForeign, match=f"alembic_version at {revision}") as caught:
        schema.upgrade(engine)
    assert "its own database" in str(caught.value)
    assert "search_path" in str(caught.value)
    assert tables(engine) == before


def test_tables_that_have_our_names_are_told(engine: Engine) -> None:
    executed(engine, "CREATE TABLE jobs (id INTEGER)", "CREATE TABLE projects (id INTEGER)", ANOTHER[1])
    for ask in (schema.upgrade, schema.check):
        with pytest.raises(DatabaseForeign, match="jobs, projects, without a revision"):
            ask(engine)
    assert tables(engine) == {"jobs", "projects", "invoices"}


def test_tables_beside_ours_do_no_harm(engine: Engine) -> None:
    executed(engine, ANOTHER[1])
    schema.upgrade(engine)
    schema.check(engine)
    assert {"invoices", "extractions"} <= tables(engine)


@pytest.fixture
def bare(postgres_server: PostgresServer) -> Iterator[Engine]:
    """A PostgreSQL database without tables, as its owner, with a role beside."""
    name, url = postgres_server.create(migrated=False)
    engine = create_engine(url, poolclass=NullPool)
    executed(engine, f"DROP ROLE IF EXISTS {ROLE}", f"CREATE ROLE {ROLE} LOGIN PASSWORD 'p'")
    yield engine
    executed(engine, f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")
    engine.dispose()
    postgres_server.drop(name)


def as_role(owner: Engine, path: str = "") -> Engine:
    url = make_url(str(owner.url.render_as_string(hide_password=False))).set(username=ROLE, password="p")  # noqa: S106 - test
    written = url.render_as_string(hide_password=False)
    if path:
        written += f"{'&' if '?' in written else '?'}options={quote(f'-csearch_path={path}')}"
    return open_test_engine(written)


def test_a_role_that_may_not_create_is_told_the_grant(bare: Engine) -> None:
    executed(bare, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    limited = as_role(bare)
    told = f'permission denied for schema public.* GRANT USAGE, CREATE ON SCHEMA public TO "{ROLE}"'
    with pytest.raises(DatabaseForbidden, match=told):
        schema.upgrade(limited)
    executed(bare, f'GRANT USAGE, CREATE ON SCHEMA public TO "{ROLE}"')
    schema.upgrade(limited)
    schema.check(limited)
    limited.dispose()


def test_a_role_that_may_not_read_is_told_the_grant(bare: Engine) -> None:
    schema.upgrade(bare)
    limited = as_role(bare)
    with pytest.raises(DatabaseForbidden, match="GRANT SELECT, INSERT"), translated_errors(limited):
        executed(limited, "SELECT count(*) FROM projects")
    limited.dispose()


def test_a_role_without_rights_on_another_schema_is_told_to_grant_them_there(bare: Engine) -> None:
    executed(bare, "CREATE SCHEMA apart", f"GRANT USAGE ON SCHEMA apart TO {ROLE}")
    limited = as_role(bare, "apart")
    told = "permission denied for schema apart.* another schema than public, grant them on that one"
    with pytest.raises(DatabaseForbidden, match=told):
        schema.upgrade(limited)
    limited.dispose()
    executed(bare, "DROP SCHEMA apart")


def test_a_schema_of_its_own_is_a_search_path(bare: Engine) -> None:
    executed(bare, f"CREATE SCHEMA agent_storage AUTHORIZATION {ROLE}", "CREATE TABLE jobs (id INTEGER)")
    own = as_role(bare, "agent_storage")
    schema.upgrade(own)
    schema.check(own)
    assert "extractions" in inspect(own).get_table_names("agent_storage")
    assert tables(bare) == {"jobs"}
    own.dispose()


def test_a_schema_that_is_not_there_is_told(bare: Engine) -> None:
    absent = as_role(bare, "nowhere")
    with pytest.raises(DatabaseSchemaAbsent, match=f'CREATE SCHEMA NAME AUTHORIZATION "{ROLE}"'):
        schema.upgrade(absent)
    with pytest.raises(DatabaseError):
        schema.check(absent)
    absent.dispose()
