"""Backups of SQLite's file: their contents, their integrity, and what a restore rejects or does."""

import asyncio
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text
from support.backups import command_on, ignore, rows_of
from support.disk import small_disk
from support.parts import fill, index_all, make_item, open_container
from support.postgres import open_test_engine
from support.waiting import until, wait_for

from app.errors import (
    AgentStorageError,
    BackupFailed,
    BackupMissing,
    BackupRunning,
    BackupTooNew,
    BackupUnsupported,
    BackupUnusable,
    DatabaseDamaged,
    DatabaseDiskFull,
    NothingToBackUp,
    StoreHasData,
    StoreInUse,
)
from app.services.backup.folder import BackupFolder
from app.services.backup.restoring import Restored
from app.services.backup.service import BackedUp
from app.sql import schema

BIG = "glacier " * 500
LOCK = ".agent-storage-backup.lock"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder with a store of 20 extractions that are indexed, and one that isn't."""
    folder = tmp_path / "store"
    folder.mkdir()
    asyncio.run(fill_store(folder))
    return folder


async def fill_store(folder: Path) -> None:
    with open_container(folder) as container:
        await fill(container, [make_item(n) for n in range(20)])
        await container.ingestion().accept("papers", [make_item(20)])


async def hand_in(folder: Path, *numbers: int, **changes: Any) -> None:
    with open_container(folder) as container:
        await container.ingestion().accept("papers", [make_item(n, **changes) for n in numbers])


async def back_up(folder: Path, to: Path, *, keep: int | None = None) -> BackedUp:
    with command_on(folder) as container:
        return await container.backups().back_up(to, ignore, keep=keep)


async def restore(folder: Path, path: Path, *, overwrite: bool = False) -> Restored:
    with command_on(folder) as container:
        return await container.backups().restore(path, ignore, overwrite=overwrite)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(file: Path, start: int, length: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(b"\x5a" * min(length, file.stat().st_size - start))


# --- making one -----------------------------------------------------------------------------------


async def test_a_backup_is_the_store_row_by_row_and_says_so_itself(store: Path, tmp_path: Path) -> None:
    made = (await back_up(store, tmp_path / "made" / "backups")).backup
    assert rows_of(made.file, resting=True) == rows_of(store / "test.db")
    manifest = json.loads(made.file.with_suffix(".json").read_bytes())
    assert manifest["sha256"] == hashlib.sha256(made.file.read_bytes()).hexdigest()
    assert manifest["size_bytes"] == made.file.stat().st_size
    assert manifest["counts"] == {"projects": 1, "sources": 11, "extractions": 21, "jobs": 2}
    assert (manifest["product"], manifest["schema_revision"]) == ("agent-storage", schema.HEAD)
    with open_container(store) as container:
        assert manifest["store_id"] == await container.ownership().store_id()
    assert manifest["began_at"] <= manifest["ended_at"]
    assert manifest["began_at"][:10].replace("-", "") in made.file.name
    assert names(made.file.parent) == [LOCK, made.file.name, made.file.with_suffix(".json").name]


async def test_a_backup_opens_as_any_file_of_sqlite_and_stays_alone(store: Path, tmp_path: Path) -> None:
    made = (await back_up(store, tmp_path / "backups")).backup
    before = names(made.file.parent)
    assert len(rows_of(made.file)["extractions"]) == 21
    assert names(made.file.parent) == before
    await restore(tmp_path / "empty", made.file)
    with closing(sqlite3.connect(tmp_path / "empty" / "test.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


async def test_backups_are_their_owners_alone(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backups"
    await back_up(store, to)
    assert {path.stat().st_mode & 0o777 for path in to.iterdir()} == {0o600}
    assert to.stat().st_mode & 0o777 == 0o700


async def test_a_backup_waits_for_no_writer_and_holds_what_was_committed(store: Path, tmp_path: Path) -> None:
    before = rows_of(store / "test.db")
    with closing(sqlite3.connect(store / "test.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM jobs")
        made = await back_up(store, tmp_path / "backups")
        writer.execute("ROLLBACK")
    assert rows_of(made.backup.file, resting=True) == before


async def test_writers_go_on_and_the_backup_is_of_the_moment_it_began(store: Path, tmp_path: Path) -> None:
    """A copy in slices without a transaction would begin again after each of these writes."""
    await hand_in(store, *range(100, 2_000), extraction_type=BIG[:200], data={"fact_text": BIG})
    before, slices = rows_of(store / "test.db"), 0

    def write(step: str, _done: int, _total: int) -> None:
        nonlocal slices
        if step != "copying":
            return
        slices += 1
        assert slices < 20, "it began again"
        with closing(sqlite3.connect(store / "test.db", timeout=0)) as writer, writer:
            writer.execute("INSERT INTO paused_job_types VALUES (?, '2026-01-01 00:00:00.000000')", (slices,))

    with command_on(store) as container:
        made = await container.backups().back_up(tmp_path / "backups", write)
    assert slices > 1
    assert rows_of(made.backup.file, resting=True) == before
    assert len(rows_of(store / "test.db")["paused_job_types"]) == slices


async def test_only_the_newest_of_this_store_are_kept(store: Path, tmp_path: Path) -> None:
    to, other = tmp_path / "backups", tmp_path / "other"
    other.mkdir()
    await fill_store(other)
    others = (await back_up(other, to)).backup.file
    made = [(await back_up(store, to)).backup.file for _ in range(3)]
    foreign = [to / "agent-storage-latest.db", to / "notes.json", to / f"{made[0].stem}.txt"]
    unknown = to / "agent-storage-20200101T000000.000000Z.db"
    for file in (*foreign, unknown):
        file.write_text("{}")
    cut = made[2].with_suffix(".json")
    cut.write_text(cut.read_text()[:-20])
    last = await back_up(store, to, keep=2)
    assert last.deleted == [made[0]]
    kept = [others, made[1], last.backup.file]
    manifests = [file.with_suffix(".json") for file in [*kept, made[2]]]
    assert {path.name for path in to.iterdir()} == {
        path.name for path in [*kept, *manifests, *foreign, unknown, made[2], to / LOCK]
    }


async def test_what_a_killed_backup_has_left_goes_with_the_next(store: Path, tmp_path: Path) -> None:
    to, killed = tmp_path / "backups", "agent-storage-20260101T000000.000000Z"
    to.mkdir()
    for name in (f"{killed}.json.part", f"{killed}.db.part", f"{killed}.db", "agent-storage-mine.json.part"):
        (to / name).touch()
    made = (await back_up(store, to)).backup.file
    assert set(names(to)) == {
        LOCK,
        "agent-storage-mine.json.part",
        made.name,
        made.with_suffix(".json").name,
    }


async def test_two_backups_at_once_to_one_folder_are_refused(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backups"
    with BackupFolder(to).writing(), pytest.raises(BackupRunning, match=str(to)):
        await back_up(store, to)
    await back_up(store, to)


async def test_where_nothing_can_be_written_it_says_so(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below"):
        with pytest.raises(BackupFailed, match=r"file.*(Not a directory|File exists)"):
            await back_up(store, folder)


async def test_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(NothingToBackUp, match=str(tmp_path / "test.db")):
        await back_up(tmp_path, tmp_path / "backups")
    with closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        connection.execute("CREATE TABLE another_programs (x)")
    with pytest.raises(NothingToBackUp):
        await back_up(tmp_path, tmp_path / "backups")
    assert names(tmp_path / "backups") == [LOCK]


async def test_a_database_in_memory_has_no_backup(tmp_path: Path) -> None:
    with (
        command_on(tmp_path, database={"url": "sqlite://"}) as container,
        pytest.raises(BackupUnsupported),
    ):
        await container.backups().back_up(tmp_path / "backups", ignore)


async def test_of_a_damaged_database_no_backup_is_kept_and_none_deleted(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backups"
    await back_up(store, to)
    before = names(to)
    with closing(sqlite3.connect(store / "test.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(store / "test.db", 6 * 4_096, 20 * 4_096)
    with pytest.raises(DatabaseDamaged, match=str(store / "test.db")):
        await back_up(store, to, keep=1)
    assert names(to) == before


async def test_a_full_disk_leaves_no_part_of_a_backup(store: Path, tmp_path: Path) -> None:
    await hand_in(store, *range(100, 400), data={"fact_text": BIG})
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(BackupFailed, match=f"{disk.folder}.*full"):
            await back_up(store, disk.folder)
        assert names(disk.folder) == [LOCK]


async def test_a_backup_that_nobody_waits_for_leaves_nothing(store: Path, tmp_path: Path) -> None:
    await hand_in(store, *range(100, 1_500), data={"fact_text": BIG})
    with command_on(store) as container:
        await cancelled_in("copying", container, partial(container.backups().back_up, tmp_path / "to"))
    assert names(tmp_path / "to") == [LOCK]


async def cancelled_in(step: str, container: Any, start: Callable[[Any], Any]) -> None:
    """Cancel a work in the midst of ``step``, and wait until its thread has come free."""
    loop, reached = asyncio.get_running_loop(), threading.Event()
    task: asyncio.Task[Any]

    def report(now: str, done: int, total: int) -> None:
        if now == step and 0 < done < total and not reached.is_set():
            reached.set()
            loop.call_soon_threadsafe(task.cancel)
            wait_for(task.done)

    task = asyncio.create_task(start(report))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached.is_set()
    await until(lambda: container.files_lane().stats().active == 0)


# --- restoring ------------------------------------------------------------------------------------


async def test_a_lost_store_is_restored_row_by_row(store: Path, tmp_path: Path) -> None:
    made, before = await back_up(store, tmp_path / "backups"), rows_of(store / "test.db")
    empty = tmp_path / "empty"
    done = await restore(empty, tmp_path / "backups")
    assert (done.backup, done.passed_over, done.moved_to) == (made.backup, [], None)
    assert names(empty) == ["test.db"]
    assert rows_of(empty / "test.db") == before
    assert (empty / "test.db").stat().st_mode & 0o777 == 0o600
    with open_container(empty) as container:
        await container.indexing().prepare(repair=True)
        assert await index_all(container) == 1


async def test_a_store_that_has_data_is_replaced_only_if_told(store: Path, tmp_path: Path) -> None:
    to = tmp_path / "backups"
    await back_up(store, to)
    before = rows_of(store / "test.db")
    await hand_in(store, *range(50, 60))
    after = rows_of(store / "test.db")
    with pytest.raises(StoreHasData, match=r"holds 1 project, 16 sources, 31 extractions, 3 jobs.*--overwrite"):
        await restore(store, to)
    assert rows_of(store / "test.db") == after
    done = await restore(store, to, overwrite=True)
    assert done.replaced["extractions"] == 31
    assert rows_of(store / "test.db") == before


async def test_a_project_alone_is_data_too(store: Path, tmp_path: Path) -> None:
    await back_up(store, tmp_path / "backups")
    other = tmp_path / "other"
    with open_container(other) as container:
        await container.projects().create("empty")
    with pytest.raises(StoreHasData, match=r"holds 1 project\."):
        await restore(other, tmp_path / "backups")


async def test_a_store_that_is_open_elsewhere_is_refused(store: Path, tmp_path: Path) -> None:
    await back_up(store, tmp_path / "backups")
    before = rows_of(store / "test.db")
    with open_container(store) as container:
        await container.projects().list()  # and its connection is idle from now on
        with pytest.raises(StoreInUse, match="Stop the service"):
            await restore(store, tmp_path / "backups", overwrite=True)
    assert rows_of(store / "test.db") == before


async def test_the_newest_whole_backup_is_taken_and_the_broken_ones_are_named(
    store: Path, tmp_path: Path
) -> None:
    to = tmp_path / "backups"
    first = (await back_up(store, to)).backup
    second, before = (await back_up(store, to)).backup, rows_of(store / "test.db")
    cut, changed, unfinished = [(await back_up(store, to)).backup.file for _ in range(3)]
    damage(changed, 8_192, 10)
    with cut.open("r+b") as opened:
        opened.truncate(cut.stat().st_size - 4_096)
    unfinished.with_suffix(".json").unlink()
    damage(first.file, 8_192, 10)  # older than the one that is taken, and so no news
    done = await restore(tmp_path / "empty", to)
    assert done.backup == second
    assert len(done.passed_over) == 2
    assert all(any(file.name in told for told in done.passed_over) for file in (cut, changed))
    assert rows_of(tmp_path / "empty" / "test.db") == before


async def test_a_file_may_be_named_with_either_of_its_names_and_be_elsewhere(
    store: Path, tmp_path: Path
) -> None:
    made = (await back_up(store, tmp_path / "backups")).backup.file
    moved = tmp_path / "moved.db"
    made.rename(moved)
    made.with_suffix(".json").rename(moved.with_suffix(".json"))
    for path in (moved, moved.with_suffix(".json")):
        done = await restore(tmp_path / "empty", path, overwrite=True)
        assert done.backup.file == moved


def without_manifest(file: Path) -> Path:
    file.with_suffix(".json").unlink()
    return file


def cut_file(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-4_096])
    return file


def changed_file(file: Path) -> Path:
    damage(file, 8_192, 1)
    return file


def cut_manifest(file: Path) -> Path:
    manifest = file.with_suffix(".json")
    manifest.write_bytes(manifest.read_bytes()[:100])
    return file


def manifest_with(**changes: object) -> Callable[[Path], Path]:
    def change(file: Path) -> Path:
        manifest = file.with_suffix(".json")
        manifest.write_text(json.dumps({**json.loads(manifest.read_bytes()), **changes}))
        return file

    return change


def damaged_with_its_hash(file: Path) -> Path:
    """As if the damage had been there when the manifest was written."""
    damage(file, 6 * 4_096, 4_096)
    return manifest_with(sha256=hashlib.sha256(file.read_bytes()).hexdigest())(file)


def foreign_file(file: Path) -> Path:
    other = file.with_name("other.db")
    other.write_text("not a backup")
    return other


def no_file(file: Path) -> Path:
    return file.with_name("nothing.db")


def empty_folder(file: Path) -> Path:
    folder = file.with_name("nothing here")
    folder.mkdir()
    return folder


def another_schema(file: Path) -> Path:
    """A newer revision, in the file and in its manifest."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    size_bytes = file.stat().st_size
    return manifest_with(schema_revision="9999", version="7.0", sha256=sha256, size_bytes=size_bytes)(file)


BAD: dict[str, tuple[Callable[[Path], Path], type[AgentStorageError], str]] = {
    "of another name": (
        lambda file: file.rename(file.with_suffix(".jsonl")),
        BackupUnusable,
        r"jsonl can't be restored: a backup is a \.db file",
    ),
    "without a manifest": (without_manifest, BackupUnusable, "manifest .*isn't beside it"),
    "cut": (cut_file, BackupUnusable, r"has [\d,]+ bytes and its manifest says [\d,]+"),
    "changed": (changed_file, BackupUnusable, "its content doesn't match its manifest"),
    "damaged before": (damaged_with_its_hash, BackupUnusable, "SQLite's check finds it damaged"),
    "manifest cut": (cut_manifest, BackupUnusable, "the manifest of a backup"),
    "another product's": (manifest_with(product="other"), BackupUnusable, r"manifest.*\(product"),
    "a list": (manifest_with(counts=[1]), BackupUnusable, r"manifest.*\(counts"),
    "another schema than it says": (manifest_with(schema_revision="0001"), BackupUnusable, "its schema is"),
    "a newer format": (
        manifest_with(format=2, version="3.1"),
        BackupTooNew,
        "made by agent-storage 3.1 with manifests of format 2.*upgrade agent-storage",
    ),
    "a newer schema": (
        another_schema,
        BackupTooNew,
        rf"made by agent-storage 7.0 with schema 9999; .*supports schema {schema.HEAD} at most.*upgrade",
    ),
    "foreign": (foreign_file, BackupUnusable, "other.db can't be restored: its manifest"),
    "missing": (no_file, BackupMissing, r"nothing.db: there is no such file or folder"),
    "no backup in the folder": (empty_folder, BackupMissing, "holds none that `agent-storage backup`"),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_backup_is_named_and_nothing_is_changed(store: Path, tmp_path: Path, what: str) -> None:
    break_it, error, words = BAD[what]
    path = break_it((await back_up(store, tmp_path / "backups")).backup.file)
    await hand_in(store, 77)
    before, files = rows_of(store / "test.db"), names(store)
    with pytest.raises(error, match=words):
        await restore(store, path, overwrite=True)
    assert rows_of(store / "test.db") == before
    assert names(store) == files


async def test_a_folder_with_broken_backups_alone_says_what_is_wrong(store: Path, tmp_path: Path) -> None:
    cut_file((await back_up(store, tmp_path / "backups")).backup.file)
    with pytest.raises(BackupUnusable, match="bytes and its manifest says"):
        await restore(tmp_path / "empty", tmp_path / "backups")


def downgraded(folder: Path, revision: str = "0003") -> None:
    """A store of an older version, with a project."""
    engine = open_test_engine(f"sqlite:///{folder / 'test.db'}")
    config = schema.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.execute(
            text(
                "INSERT INTO projects VALUES "
                "('00000000-0000-4000-8000-000000000000', 'papers', '2026-01-01 00:00:00.000000')"
            )
        )
    engine.dispose()


async def test_an_older_store_is_backed_up_as_it_is_and_migrated_when_restored(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    downgraded(old)
    made = (await back_up(old, tmp_path / "backups")).backup
    assert made.manifest.schema_revision == "0003"
    assert rows_of(old / "test.db")["alembic_version"] == [("0003",)]
    content = made.file.read_bytes()
    done = await restore(new, tmp_path / "backups")
    assert (done.contents.revision, done.contents.counts["projects"]) == (schema.HEAD, 1)
    assert names(new) == ["test.db"]
    assert rows_of(new / "test.db")["alembic_version"] == [(schema.HEAD,)]
    assert made.file.read_bytes() == content


async def test_a_damaged_database_is_replaced_if_told_and_kept_beside(store: Path, tmp_path: Path) -> None:
    to, database = tmp_path / "backups", store / "test.db"
    await back_up(store, to)
    before = rows_of(database)
    damage(database, 0, 100)
    damaged = database.read_bytes()
    with pytest.raises(StoreHasData, match=r"is damaged.*--overwrite"):
        await restore(store, to)
    assert database.read_bytes() == damaged
    done = await restore(store, to, overwrite=True)
    assert rows_of(database) == before
    assert done.moved_to is not None
    assert done.moved_to.read_bytes() == damaged


@pytest.fixture
def large(store: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A store that isn't what its backup of several slices holds, and the backups."""

    async def prepare() -> None:
        await hand_in(store, *range(100, 1_500), data={"fact_text": BIG})
        await back_up(store, tmp_path / "backups")
        await hand_in(store, *range(2_000, 2_100), data={"fact_text": BIG})

    asyncio.run(prepare())
    return store, tmp_path / "backups"


async def test_a_restore_that_nobody_waits_for_leaves_the_store(large: tuple[Path, Path]) -> None:
    folder, backups = large
    before = rows_of(folder / "test.db")
    for step in ("reading", "restoring"):
        with command_on(folder) as container:
            service = container.backups()
            await cancelled_in(step, container, partial(service.restore, backups, overwrite=True))
        assert rows_of(folder / "test.db") == before


async def test_a_restore_without_room_leaves_the_store(tmp_path: Path, large: tuple[Path, Path]) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        await hand_in(disk.folder, 1)
        before = rows_of(disk.folder / "test.db")
        with pytest.raises(DatabaseDiskFull, match=str(disk.folder / "test.db")):
            await restore(disk.folder, large[1], overwrite=True)
        assert rows_of(disk.folder / "test.db") == before


# --- looking at what is there ---------------------------------------------------------------------


async def test_a_check_says_what_a_store_holds(store: Path) -> None:
    with command_on(store) as container:
        found = await container.backups().check()
    assert found.is_usable
    assert found.contents.counts == {"projects": 1, "sources": 11, "extractions": 21, "jobs": 2}


async def test_a_check_finds_what_is_missing_or_damaged(store: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store / "test.db")) as connection, connection:
        connection.execute("DROP INDEX ix_extractions_source_id")
        connection.execute("DROP TABLE paused_job_types")
    with command_on(store) as container:
        found = await container.backups().check()
    missing = {"index ix_extractions_source_id", "table paused_job_types"}
    assert (found.is_usable, set(found.missing)) == (False, missing)
    downgraded(tmp_path)
    with command_on(tmp_path) as container:
        found = await container.backups().check()
    assert (found.is_usable, found.contents.revision) == (False, "0003")
