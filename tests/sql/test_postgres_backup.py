"""PostgreSQL is backed up and restored by the printed commands, and the result is checked."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from support.cli import EXAMPLE, Cli
from support.postgres import PostgresServer, open_test_engine
from support.postgres_process import programs

from app.database import open_engine
from app.models import Base
from app.settings.sections import DatabaseSettings
from app.sql.postgres_commands import conninfo, dump_command

pytestmark = pytest.mark.slow

COUNTS = {"projects": 1, "sources": 40, "extractions": 40, "jobs": 1}


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables."""
    name, url = postgres_server.create(migrated=False)
    yield url
    postgres_server.drop(name)


def run_printed(command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{programs()}:{os.environ['PATH']}"}
    return subprocess.run(  # noqa: S602 - a person pastes it into a shell
        command, shell=True, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def rows_of(url: str) -> dict[str, list[Any]]:
    engine = open_test_engine(url)
    with engine.connect() as connection:
        rows = {
            table.name: sorted(connection.execute(select(table)).all(), key=repr)
            for table in Base.metadata.sorted_tables
        }
    engine.dispose()
    return rows


def fill(cli: Cli) -> None:
    cli("ingest", "-", stdin=b"".join(EXAMPLE.read_bytes().splitlines(keepends=True)[:40]))


def test_what_is_printed_backs_up_and_restores(postgres_url: str, empty_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=postgres_url)
    fill(cli)
    (tmp_path / "backups").mkdir()
    made = cli.json("backup", "backups")
    assert run_printed(made["command"]).returncode == 0
    before = rows_of(postgres_url)

    lost = Cli(tmp_path, DATABASE_URL=empty_url)
    found = lost.json("restore", "--check", code=1)
    assert (found["usable"], found["schema_revision"], found["counts"]["extractions"]) == (False, None, 0)
    assert b"no tables of agent-storage" in lost("restore", "--check", code=1).stderr
    told = lost.json("restore", "backups")
    assert (told["file"], "--clean" in told["command"]) == (made["file"], False)
    assert run_printed(told["command"]).returncode == 0
    assert rows_of(empty_url) == before
    found = lost.json("restore", "--check")
    assert (found["usable"], found["counts"], found["missing"]) == (True, COUNTS, [])
    assert lost.json("verify", "--repair")["remaining"] == 0


def test_a_database_that_has_data_is_replaced_only_if_told(postgres_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=postgres_url)
    fill(cli)
    assert run_printed(cli.json("backup", ".")["command"]).returncode == 0
    before = rows_of(postgres_url)
    cli("ingest", "-", stdin=EXAMPLE.read_bytes().splitlines(keepends=True)[50])
    assert b"holds 1 project, 41 sources, 41 extractions, 2 jobs" in cli("restore", ".", code=1).stderr
    told = cli("restore", ".", "--overwrite").stdout.decode()
    assert run_printed(told).returncode == 0
    assert rows_of(postgres_url) == before


def test_a_restore_that_fails_changes_nothing(postgres_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=postgres_url)
    fill(cli)
    made = cli.json("backup", ".")
    assert run_printed(made["command"]).returncode == 0
    before, dump = rows_of(postgres_url), Path(made["file"])
    dump.write_bytes(dump.read_bytes()[:-500])
    assert run_printed(cli.json("restore", ".", "--overwrite")["command"]).returncode != 0
    assert rows_of(postgres_url) == before


def test_what_is_no_dump_is_refused(empty_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=empty_url)
    (tmp_path / "agent-storage-20260101T000000.000000Z.dump").write_text("CREATE TABLE x")
    assert b"isn't what `pg_dump --format=custom` makes" in cli("restore", ".", code=1).stderr
    assert b"holds no dump" in cli("restore", str(tmp_path.parent), code=1).stderr
    assert b"there is no such file" in cli("restore", "nothing", code=1).stderr


def test_a_check_finds_what_a_half_restore_has_left_out(postgres_url: str, tmp_path: Path) -> None:
    engine = open_test_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE extractions DROP CONSTRAINT fk_extractions_source_id_sources"))
        connection.execute(text("DROP INDEX ix_extractions_source_id"))
        connection.execute(text("ALTER TABLE jobs DROP COLUMN error"))
    engine.dispose()
    cli = Cli(tmp_path, DATABASE_URL=postgres_url)
    found = cli.json("restore", "--check", code=1)
    assert set(found["missing"]) == {
        "foreign key extractions.source_id",
        "index ix_extractions_source_id",
        "column jobs.error",
    }


def engine_of(url: str) -> Engine:
    return open_engine(DatabaseSettings(url=url))


def test_servers_and_sockets_are_named_as_the_programs_take_them() -> None:
    several = engine_of("postgresql://me@/facts?host=db1:5432&host=db2:5433&target_session_attrs=read-write")
    assert set(conninfo(several).split()) == {
        "user=me",
        "dbname=facts",
        "host=db1,db2",
        "port=5432,5433",
        "target_session_attrs=read-write",
    }
    spaced = engine_of("postgresql://me@/facts?host=/a%20folder&password=hidden")
    command = dump_command(spaced, Path("/back ups/x.dump"))
    assert "hidden" not in command
    assert shlex.split(command)[2] == "--file=/back ups/x.dump"
    assert "host='/a folder'" in shlex.split(command)[3]
