"""Backups under load, destroyed stores, and ``kill -9`` during a backup or a restore."""

import asyncio
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.backups import rows_of
from support.cli import Cli
from support.forked import Process
from support.parts import settings_for
from support.processes import errors_in, serve_process, wait_until_ready
from support.producing import Producer
from support.service_client import client_of

from app.services.backup.folder import BackupFolder
from containers import create_container, running

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TEST_KILLS", "10"))
EXTRACTIONS = 6_000
DATABASE = Path("data") / "agent-storage.db"
SETTINGS = {"WORKER_BATCH_SIZE": "100", "WORKER_POLL_INTERVAL": "0.2"}
WITHOUT_A_JOB = """
SELECT id FROM extractions WHERE embedding_id IS NULL EXCEPT
SELECT json_each.value FROM jobs, json_each(jobs.payload, '$.extraction_ids') WHERE status IN ('queued', 'running')
"""
"""Extractions that wait for their vector, and no job is there that would make it."""


def moment_s(most_s: float) -> float:
    return random.uniform(0.0, most_s)  # noqa: S311 - a moment, no secret


def ids_in(file: Path, query: str = "SELECT id FROM extractions") -> set[str]:
    """The ids in a file that isn't in use."""
    with closing(sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True)) as connection:
        return {str(id_) for (id_,) in connection.execute(query)}


async def vector_ids(folder: Path) -> set[str]:
    settings = settings_for(
        folder,
        database={"url": f"sqlite:///{folder / DATABASE}"},
        qdrant={"mode": "embedded", "path": str(folder / "data" / "qdrant")},
    )
    with running(create_container(settings)) as container:
        pages = container.qdrant_repository().iter_point_ids(1_000)
        return {str(id_) async for page in pages for id_ in page}


def test_stores_that_are_destroyed_come_back_as_they_were_under_load(disk_path: Path) -> None:
    cli = Cli(disk_path, **SETTINGS)
    with serve_process(disk_path, SETTINGS) as service:
        # A backup from before the store has its id isn't counted by --keep.
        wait_until_ready(service)
        producer = Producer(service.url, EXTRACTIONS)
        with producer.sending():
            backups = [backed_up_meanwhile(cli, producer) for _ in range(3)]
            producer.finish()
    assert errors_in(service.log) == []
    last = backups[-1]
    held = ids_in(last)
    assert len(held) < EXTRACTIONS, "all was there before it began"
    assert held <= set(producer.ids.values())
    assert sorted((disk_path / "backups").glob("*.db")) == backups[-2:]

    shutil.rmtree(disk_path / "data")
    assert cli.json("restore", "backups")["file"] == str(last)
    assert rows_of(disk_path / DATABASE) == rows_of(last, resting=True)
    assert cli.json("verify", "--repair")["remaining"] == 0
    assert asyncio.run(vector_ids(disk_path)) == held
    with serve_process(disk_path, SETTINGS) as service, client_of(service.url) as client:
        client.assert_holds(held)
        again = Producer(service.url, EXTRACTIONS)
        with again.sending():
            again.finish()
        assert again.ids == producer.ids
        client.assert_holds(producer.ids.values())


def backed_up_meanwhile(cli: Cli, producer: Producer) -> Path:
    """Make a backup while the producer sends.

    It has everything accepted before it, and the jobs for everything that waits.
    """
    producer.allow(1 / 4)
    time.sleep(moment_s(0.5))
    accepted = set(producer.ids.values())
    made = cli.json("backup", "backups", "--keep", "2")
    file = Path(made["file"])
    held = ids_in(file)
    assert accepted <= held
    assert len(held) == made["counts"]["extractions"]
    assert ids_in(file, WITHOUT_A_JOB) == set()
    return file


def test_a_killed_backup_leaves_only_whole_backups(disk_path: Path) -> None:
    cli = Cli(disk_path)
    grow(cli, 20)
    to = disk_path / "backups"
    size_bytes = Path(cli.json("backup", "backups")["file"]).stat().st_size
    before = rows_of(disk_path / DATABASE)
    for _ in range(KILLS):
        with cli.start("backup", "backups") as process:
            kill_when_written(process, lambda: to.glob("*.part"), size_bytes)
    whole, broken = BackupFolder(to).whole()
    assert broken == []
    for backup in whole:
        cli("restore", str(backup.file), "--overwrite")
        assert rows_of(disk_path / DATABASE) == before
    last = cli.json("backup", "backups", "--keep", "1")
    left = {Path(last["file"]).name, Path(last["manifest"]).name, ".agent-storage-backup.lock"}
    assert {path.name for path in to.iterdir()} == left


def test_a_killed_restore_leaves_the_old_store_or_the_new_one(disk_path: Path) -> None:
    cli = Cli(disk_path)
    grow(cli, 20)
    cli("backup", "backups")
    new = rows_of(disk_path / DATABASE)
    grow(cli, 25)
    cli("backup", "older")
    old = rows_of(disk_path / DATABASE)
    log, size_bytes = disk_path / f"{DATABASE}-wal", (disk_path / DATABASE).stat().st_size
    started = time.monotonic()
    cli("restore", "backups", "--overwrite")
    took_s = time.monotonic() - started
    for kill in range(KILLS):
        cli("restore", "older", "--overwrite")
        with cli.start("restore", "backups", "--overwrite") as process:
            if kill % 2:
                kill_after(process, moment_s(took_s))
            else:
                kill_when_written(process, lambda: [log], size_bytes)
        now = rows_of(disk_path / DATABASE)
        assert any(now == whole for whole in (old, new))
        assert cli.json("restore", "--check")["damage"] is None
    cli("restore", "backups", "--overwrite")
    assert rows_of(disk_path / DATABASE) == new
    assert {path.name.removeprefix(DATABASE.name) for path in (disk_path / "data").glob("*.db*")} <= {
        "",
        "-wal",
        "-shm",
    }


def kill_when_written(process: Process, files: Callable[[], Iterable[Path]], size_bytes: int) -> None:
    """``kill -9`` when one of the files has a random share of the size, or soon after the end."""
    share = moment_s(1.2) * size_bytes
    while process.poll() is None and share > size_of(files()):
        pass
    kill_after(process, 0.0)


def kill_after(process: Process, after_s: float) -> None:
    time.sleep(after_s)
    process.kill()
    process.communicate(timeout=60)


def size_of(files: Iterable[Path]) -> int:
    sizes = [0]
    for file in files:
        with suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)
    return max(sizes)


def grow(cli: Cli, megabytes: int) -> None:
    """Have the store hold an extraction of so many megabytes."""
    line = '{"source_uri": "doc:%d", "extraction_type": "fact", "data": {"fact_text": "number %d", "body": "%s"}}\n'
    lines = "".join(line % (number, number, "x" * 1_000_000) for number in range(megabytes))
    cli("ingest", "-", stdin=lines.encode())
