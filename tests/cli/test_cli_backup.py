"""``backup`` and ``restore``: beside a service, in a terminal, for PostgreSQL, and interrupted."""

import json
import os
import pty
import shlex
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from support.backups import rows_of
from support.cli import COMMAND, EXAMPLE, Cli
from support.processes import serve_process
from support.service_client import client_of, raw_item
from support.waiting import wait_for

from app.sql import schema

pytestmark = pytest.mark.slow

DATABASE = Path("data") / "agent-storage.db"
COUNTS = {"projects": 1, "sources": 60, "extractions": 60, "jobs": 1}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def fill(cli: Cli, count: int = 60) -> None:
    lines = EXAMPLE.read_bytes().splitlines(keepends=True)[:count]
    cli("ingest", "-", stdin=b"".join(lines))


def test_a_store_that_is_lost_is_made_again(cli: Cli) -> None:
    fill(cli)
    made = cli.json("backup", "backups")
    assert (made["counts"], made["schema_revision"], made["deleted"]) == (COUNTS, schema.HEAD, [])
    assert Path(made["file"]).parent == cli.folder / "backups"
    assert json.loads(Path(made["manifest"]).read_bytes())["sha256"] == made["sha256"]
    before = rows_of(cli.folder / DATABASE)
    subprocess.run(["rm", "-r", cli.folder / "data"], check=True)  # noqa: S607 - wherever it is
    done = cli.json("restore", "backups")
    assert (done["file"], done["restored"]["counts"], done["replaced"]) == (
        made["file"],
        COUNTS,
        dict.fromkeys(COUNTS, 0),
    )
    assert (done["restored"]["store_id"], done["next"]) == (made["store_id"], "agent-storage verify --repair")
    assert rows_of(cli.folder / DATABASE) == before
    repaired = cli.json("verify", "--repair")
    assert (repaired["missing"], repaired["repaired_missing"], repaired["remaining"]) == (60, 60, 0)
    assert cli.json("restore", "--check")["usable"] is True


def test_what_people_read(cli: Cli) -> None:
    fill(cli)
    told = cli("backup", "backups").stdout.decode()
    assert told.startswith("Backed up 60 extractions, 60 sources, 1 project and 1 job to ")
    again = cli("backup", "backups", "--keep", "1").stdout.decode()
    assert again.endswith("Deleted 1 older backup.\n")
    refused = cli("restore", "backups", code=1).stderr.decode()
    assert (
        f"the database {cli.folder / DATABASE} holds 1 project, 60 sources, 60 extractions, 1 job." in refused
    )
    done = cli("restore", "backups", "--overwrite")
    assert done.stdout.startswith(b"Restored 60 extractions, 60 sources, 1 project and 1 job from ")
    assert b"run `agent-storage verify --repair` now" in done.stderr
    check = cli("restore", "--check").stdout.decode()
    assert f"│ schema      │ {schema.HEAD}" in check
    assert "This version can use it." in check


def test_wrong_arguments(cli: Cli) -> None:
    assert b"name the backup" in cli("restore", code=2).stderr
    assert b"--check takes no backup" in cli("restore", "here", "--check", code=2).stderr
    assert b"--keep" in cli("backup", "backups", "--keep", "0", code=2).stderr


def test_a_folder_without_a_store_is_left_without_one(cli: Cli) -> None:
    told = cli("backup", "backups", code=1).stderr.decode()
    assert f"there is nothing to back up: the database {cli.folder / DATABASE} is missing" in told
    assert list(cli.folder.iterdir()) == []


def test_a_backup_is_made_beside_a_service_and_no_restore(cli: Cli) -> None:
    fill(cli)
    with serve_process(cli.folder, {}) as service, client_of(service.url) as client:
        client.post([raw_item(1)]).raise_for_status()
        client.wait_until_done()
        made = cli.json("backup", "backups")
        assert made["counts"]["extractions"] == 61
        told = cli("restore", "backups", "--overwrite", code=1).stderr.decode()
        assert f"another process has the database {cli.folder / DATABASE} open. Stop the service" in told
        client.post([raw_item(2)]).raise_for_status()
        client.wait_until_done()
        assert client.verify()["remaining"] == 0
    done = cli.json("restore", "backups", "--overwrite")
    assert done["replaced"]["extractions"] == 62
    assert cli.json("verify", "--repair")["ghosts"] == 1


def test_an_older_service_is_backed_up_without_being_upgraded(cli: Cli) -> None:
    """Before an upgrade the backup has to be of what was there."""
    fill(cli)
    subprocess.run(
        [*COMMAND[:1], "-c", _DOWNGRADE, str(cli.folder / DATABASE)],
        env=cli.environment,
        check=True,
        timeout=60,
    )
    assert cli.json("backup", "backups")["schema_revision"] == "0001"
    found = cli.json("restore", "--check", code=1)
    assert (found["usable"], found["schema_revision"]) == (False, "0001")
    assert b"`agent-storage db upgrade`" in cli("restore", "--check", code=1).stderr


_DOWNGRADE = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
"""


def test_a_terminal_sees_how_far_it_is(cli: Cli) -> None:
    fill(cli)
    terminal, its_end = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "backup", "backups"],
        cwd=cli.folder,
        env={**cli.environment, "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=its_end,
    ) as process:
        os.close(its_end)
        seen = b""
        with suppress(OSError):  # the terminal's other end is closed
            while chunk := os.read(terminal, 4_096):
                seen += chunk
        assert process.wait(60) == 0
    os.close(terminal)
    assert all(step in seen for step in (b"copying", b"checking", b"hashing"))


def test_ctrl_c_leaves_no_part_of_a_backup(cli: Cli) -> None:
    fill(cli)
    subprocess.run(
        [*COMMAND[:1], "-c", _GROW, str(cli.folder / DATABASE)], env=cli.environment, check=True, timeout=60
    )
    with cli.start("backup", "backups") as process:
        folder = cli.folder / "backups"
        wait_for(lambda: process.poll() is not None or list(folder.glob("*.db.part")))
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.wait(), b"Traceback" in told) == (130, False)
    assert [path.name for path in folder.iterdir()] == [".agent-storage-backup.lock"]


_GROW = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    connection.execute("CREATE TABLE large (x)")
    connection.executemany("INSERT INTO large VALUES (zeroblob(1000000))", [()] * 200)
"""


# --- PostgreSQL -----------------------------------------------------------------------------------


def test_for_postgresql_the_commands_are_named_without_the_password(tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL="postgresql://me:hid%20den@db.example:6432/facts?sslmode=require")
    made = cli.json("backup", "backups")
    words = shlex.split(made["command"])
    assert words[:2] == ["pg_dump", "--format=custom"]
    assert words[2] == f"--file={made['file']}"
    assert set(words[3].removeprefix("--dbname=").split()) == {
        "host=db.example",
        "port=6432",
        "user=me",
        "dbname=facts",
        "sslmode=require",
    }
    done = cli("backup", "backups")
    assert b"hid" not in done.stdout + done.stderr
    assert b"PGPASSWORD" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert b"--keep" in cli("backup", "backups", "--keep", "3", code=1).stderr
    assert list(tmp_path.iterdir()) == []
