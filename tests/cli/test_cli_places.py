"""Which store a command uses: it says so if unclear, and creates none when it only reads."""

from pathlib import Path

import pytest
from support.cli import Cli

pytestmark = pytest.mark.slow

FACT = b'{"source_uri": "a", "extraction_type": "fact", "data": {"text": "a fact"}}\n'
NOT_HERE = "there is no store here yet"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        "search fact",
        "projects list",
        "projects delete p --yes",
        "extractions list",
        "extractions count",
        "extractions delete --all --yes",
        "sources list -p p",
        "runs list -p p",
        "history a -p p",
        "jobs list",
        "metrics",
        "export",
        "verify",
        "verify --repair",
        "reindex",
        "optimize",
        "adopt --yes",
        "restore --check",
    ],
)
@pytest.mark.parametrize("is_empty_file", [False, True])
def test_a_command_without_a_store_fails_names_the_database_and_makes_nothing(
    cli: Cli, command: str, *, is_empty_file: bool
) -> None:
    database = cli.folder / "data" / "agent-storage.db"
    if is_empty_file:
        database.parent.mkdir()
        database.touch()
    before = list(cli.folder.rglob("*"))
    done = cli(*command.split(), code=1)
    assert f"Error: {NOT_HERE}: no database {database}, and none was created." in done.stderr.decode()
    assert b"`agent-storage ingest FILE --project NAME` creates one" in done.stderr
    assert done.stdout == b""
    assert list(cli.folder.rglob("*")) == before


def test_doctor_without_a_store_says_so_checks_the_rest_and_makes_nothing(cli: Cli) -> None:
    rows = {row["part"]: row for row in cli.json("doctor", code=1)["parts"]}
    assert {part: row["ok"] for part, row in rows.items()} == {
        "configuration": True,
        "database": False,
        "qdrant": True,
        "embedder": True,
    }
    assert rows["database"]["error"].startswith(NOT_HERE)
    assert list(cli.folder.iterdir()) == []


def test_doctor_makes_no_folder_for_an_index_that_is_gone(cli: Cli) -> None:
    cli("db", "upgrade")
    before = sorted(cli.folder.rglob("*"))
    cli("doctor")
    assert sorted(cli.folder.rglob("*")) == before


def test_a_dry_run_without_a_store_says_what_a_new_one_would_get(cli: Cli) -> None:
    done = cli("ingest", "-", "-p", "p", "--replace", "source", "--dry-run", stdin=FACT)
    assert f"Against an empty store, because {NOT_HERE}" in done.stderr.decode()
    assert b"1 added" in done.stdout
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--replace", "source"), ("--skip-invalid",), ("--json",)])
def test_a_file_that_is_not_there_makes_no_store(cli: Cli, options: tuple[str, ...]) -> None:
    done = cli("ingest", "missing.csv", "-p", "p", *options, code=1)
    assert done.stderr == b"Error: missing.csv can't be read: No such file or directory\n"
    assert list(cli.folder.iterdir()) == []


def test_ingest_says_where_it_stores_what(cli: Cli) -> None:
    database, index = cli.folder / "data" / "agent-storage.db", cli.folder / "data" / "qdrant"
    first = cli("ingest", "-", stdin=FACT).stderr.decode()
    assert "No --project was given: storing in project default." in first
    assert f"Creating a store: the database {database}, and the index in {index}." in first
    again = cli("ingest", "-", stdin=FACT).stderr.decode()
    assert again == (
        f"No --project was given: storing in project default, in the database {database}, and the index in {index}.\n"
    )
    assert cli("ingest", "-", "-p", "default", stdin=FACT).stderr == b"", "a named project needs no note"
    assert cli("search", "fact").stderr == b""


def test_a_server_of_the_index_is_named_by_its_address(cli: Cli) -> None:
    cli.environment |= {"QDRANT_URL": "http://user:hidden@127.0.0.1:9", "QDRANT_RETRY_TIMEOUT": "0.1"}
    told = cli("ingest", "-", stdin=FACT, code=1).stderr.decode()
    assert "the index at http://********@127.0.0.1:9" in told
    assert "hidden" not in told


# --- AGENT_STORAGE_HOME ---------------------------------------------------------------------------


def test_one_folder_holds_data_and_configuration_whatever_the_current_directory(tmp_path: Path) -> None:
    home, here, there = (tmp_path / name for name in ("store", "here", "there"))
    for folder in (home, here, there):
        folder.mkdir()
    (home / "config.yml").write_text("embedding:\n  dimension: 8\n")
    (home / ".env").write_text("WORKER_BATCH_SIZE=7\n")
    for folder in (here, there):  # which count for nothing
        (folder / "config.yml").write_text("embedding:\n  dimension: 16\n")
        (folder / ".env").write_text("WORKER_BATCH_SIZE=9\n")
    Cli(here, AGENT_STORAGE_HOME=str(home))("ingest", "-", stdin=FACT)
    cli = Cli(there, AGENT_STORAGE_HOME="../store")
    assert len(cli.hits("fact")) == 1
    shown = {entry["key"]: entry for entry in cli.items("config", "show")}
    assert shown["embedding.dimension"]["value"] == 8
    assert shown["embedding.dimension"]["source"] == str(home / "config.yml")
    assert str(shown["worker.batch_size"]["value"]) == "7"
    assert shown["qdrant.path"] == {
        "key": "qdrant.path",
        "value": str(home / "data" / "qdrant"),
        "source": "default",
    }
    assert {path.name for path in home.iterdir()} == {"config.yml", ".env", "data"}
    assert {path.name for folder in (here, there) for path in folder.iterdir()} == {"config.yml", ".env"}


def test_the_folder_named_in_a_dotenv_file_is_ignored_aloud(cli: Cli) -> None:
    (cli.folder / ".env").write_text("AGENT_STORAGE_HOME=/srv/store\n")
    told = cli("search", "fact", code=1).stderr.decode()
    assert "AGENT_STORAGE_HOME (.env) is ignored" in told
    assert str(cli.folder / "data" / "agent-storage.db") in told


def test_the_home_folder_stands_behind_a_tilde_everywhere(tmp_path: Path) -> None:
    home, here = tmp_path / "me", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    (home / "my.yml").write_text("database:\n  url: sqlite:///~/sql/a.db\nqdrant:\n  path: ~/index\n")
    (home / "in.jsonl").write_bytes(FACT + b"bad\n")
    cli = Cli(here, HOME=str(home))
    cli(
        "--config", "~/my.yml", "ingest", "~/in.jsonl", "--skip-invalid", "--rejects", "~/rejects.jsonl", code=3
    )  # fmt: skip
    cli("--config", "~/my.yml", "export", "-o", "~/out.jsonl")
    cli("--config", "~/my.yml", "backup", "~/backups")
    cli("--config", "~/my.yml", "restore", "~/backups", "--overwrite")
    cli.environment["AGENT_STORAGE_CONFIG"] = "~/my.yml"
    assert len(cli.hits("fact")) == 1
    assert {path.name for path in home.iterdir()} == {
        "my.yml",
        "in.jsonl",
        "rejects.jsonl",
        "out.jsonl",
        "sql",
        "index",
        "backups",
    }
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AGENT_STORAGE_HOME", "~nobody-of-that-name/store"),
        ("QDRANT_PATH", "~nobody-of-that-name/index"),
        ("DATABASE_URL", "sqlite:///~nobody-of-that-name/a.db"),
        ("AGENT_STORAGE_CONFIG", "~nobody-of-that-name/config.yml"),
    ],
)
def test_a_home_folder_of_nobody_is_named_and_nothing_made(cli: Cli, variable: str, value: str) -> None:
    cli.environment[variable] = value
    assert "~nobody-of-that-name" in cli("search", "fact", code=1).stderr.decode()
    assert list(cli.folder.iterdir()) == []


# --- a newer schema -------------------------------------------------------------------------------


def test_an_old_program_says_what_helps_against_a_newer_schema(cli: Cli) -> None:
    import sqlite3  # noqa: PLC0415 - only used here

    cli("db", "upgrade")
    with sqlite3.connect(cli.folder / "data" / "agent-storage.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    for command in ("search fact", "db upgrade", "ingest -"):
        told = cli(*command.split(), stdin=FACT, code=1).stderr.decode()
        assert "schema is at 9999" in told
        assert "Install that version or a later one" in told
        assert "agent-storage restore DIR --overwrite" in told
        assert "Run `agent-storage db upgrade`" not in told
