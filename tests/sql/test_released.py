"""Upgrading from each released version: nothing is lost, and the store works on."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text
from support.cli import Cli
from support.postgres import PostgresServer, open_test_engine
from support.released import CHANGELOG, DIALECTS, FACT, FOLDER, INDEXED, fixture, load, released_versions

from app.models import WORDS_INDEX, Base
from app.sql import schema

ROOT = Path(__file__).parents[2]
FIXTURES = sorted(FOLDER.glob("*.sql"))
Rows = dict[str, list[dict[str, Any]]]

each_fixture = pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.stem)
"""Runs the test on the store of each fixture; see the fixture `url`."""


def tags() -> str:
    """The tags of this clone; none without git."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return ""
    command = ["git", "-c", f"safe.directory={ROOT}", "tag", "--list", "v*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def released() -> set[str]:
    return released_versions(CHANGELOG.read_text(encoding="utf-8"), tags())


def without_fixture(versions: set[str]) -> list[str]:
    wanted = (fixture(version, dialect) for version in versions for dialect in DIALECTS)
    return sorted(file.name for file in wanted if not file.exists())


def test_every_release_has_its_fixtures() -> None:
    """`make released VERSION=...` makes them."""
    assert without_fixture(released()) == []


def test_a_release_without_fixtures_would_be_found() -> None:
    changelog = "# Changelog\n\n## [Unreleased]\n\n## [98.0.0] - 2040-01-02\n\n[98.0.0]: a-link\n"
    versions = released_versions(changelog, "v99.1.2\nvault\nv1\n")
    assert versions == {"98.0.0", "99.1.2"}
    assert len(without_fixture(versions)) == len(DIALECTS) * 2


def test_there_is_a_fixture_for_each_dialect() -> None:
    versions = {file.name.rsplit(".", 2)[0] for file in FIXTURES}
    assert versions
    assert without_fixture(versions) == []


@pytest.fixture
def url(file: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with the fixture's store."""
    if file.suffixes[-2] == ".sqlite":
        url = f"sqlite:///{tmp_path / 'store.db'}"
        load(file, url)
        yield url
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name, url = server.create(migrated=False)
    load(file, url)
    yield url
    server.drop(name)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_test_engine(url)
    yield engine
    engine.dispose()


def rows_of(engine: Engine) -> Rows:
    """Every row of every table, as the database has it."""
    with engine.connect() as connection:
        names = [name for name in inspect(connection).get_table_names() if not name.startswith(WORDS_INDEX)]
        return {
            name: [dict(row) for row in connection.execute(text(f"SELECT * FROM {name}")).mappings()]  # noqa: S608 - a table's name
            for name in names
        }


def lost(before: Rows, after: Rows) -> list[str]:
    """The rows of before that aren't there any more, without the columns that were dropped."""
    missing = []
    for name, rows in before.items():
        columns = set(after[name][0]) if after.get(name) else set()
        kept = [{column: row[column] for column in row if column in columns} for row in after.get(name, [])]
        for row in rows:
            wanted = {column: row[column] for column in row if column in columns}
            if not wanted or not any(wanted == {key: each[key] for key in wanted} for each in kept):
                missing.append(f"{name}: {row}")
    return missing


@each_fixture
def test_an_upgrade_keeps_every_row_and_the_store_works_on(engine: Engine, url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=url, DATABASE_DATA_INDEXES=INDEXED, QDRANT_PATH=str(tmp_path / "qdrant"))
    before = rows_of(engine)
    assert [name for name, rows in before.items() if not rows] == []
    before.pop("alembic_version")

    assert cli.json("db", "upgrade")["revision"] == schema.HEAD
    assert lost(before, rows_of(engine)) == []
    schema.check(engine)

    # The fixture has no vectors, as a store whose index was lost.
    cli("verify", "--repair")
    cli("verify")
    (old,) = cli.hits(FACT, "--project", "shop", "--limit", "1")
    assert old["data"] == {"text": FACT, INDEXED: 35}
    new = {"source_uri": "https://shop.example/pan", "extraction_type": "offer"}
    line = json.dumps({**new, "data": {"text": "the pan costs 20 euro", INDEXED: 20}})
    assert cli.json("ingest", "-", "--project", "shop", stdin=line.encode())["indexed"] == 1
    (found,) = cli.hits("pan", "--project", "shop", "--where", f"{INDEXED} < 30")
    assert found["source_uri"] == new["source_uri"]
    cli("verify")


@each_fixture
def test_a_lost_row_and_a_lost_value_would_be_found(engine: Engine) -> None:
    before = rows_of(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM idempotency_keys"))
        connection.execute(text("UPDATE sources SET source_group = 'other' WHERE source_group = 'shops'"))
    assert {row.partition(":")[0] for row in lost(before, rows_of(engine))} == {"idempotency_keys", "sources"}


@each_fixture
def test_the_fixture_of_the_next_release_has_the_newest_schema(file: Path, engine: Engine) -> None:
    """Fails after a new revision, until `make released` makes the fixtures again."""
    version = re.sub(r"\.\w+\.sql$", "", file.name)
    if version in released():
        pytest.skip("released: it has the schema of its version")
    assert schema.current_revision(engine) == schema.HEAD
    names = {name for name in inspect(engine).get_table_names() if not name.startswith(WORDS_INDEX)}
    assert names == {*Base.metadata.tables, "alembic_version"}
