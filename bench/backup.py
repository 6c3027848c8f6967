"""A backup of a SQLite store against a plain copy of its file, both synced to disk.

    python bench/backup.py [--extractions 100000] [--repeats 7] [--folder DIR]

The aim is 2 x a plain copy. Prints the times of the plain copy, of the backup with its checks, and
of SQLite's integrity_check and the hash, which a plain copy doesn't have. Times are medians; the
runs take turns.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, text

from app.domain.items import Item, parse_item
from app.services.backup.folder import BackupFolder, digest, sync
from app.services.backup.making import make_backup
from app.services.backup.work import Work
from app.settings.sections import DatabaseSettings, EmbeddingSettings, QdrantSettings
from app.sql import sqlite_copy
from app.sql.contents import read_contents
from app.sql.transactions import begin_write

MOST = 2.0
TEXT_FIELDS = ("fact_text",)
BATCH = 1_000
FACTS_A_SOURCE = 4


def item(number: int) -> Item:
    """A fact of about 200 characters."""
    raw = {
        "source_uri": f"https://example.org/documents/{number // FACTS_A_SOURCE}",
        "extraction_type": "fact",
        "confidence": 0.5,
        "data": {
            "fact_text": f"fact number {number} " + "of a document that says this and that " * 4,
            "n": number,
        },
    }
    return parse_item(raw, TEXT_FIELDS)


def fill(folder: Path, extractions: int) -> Path:
    """Make a store with all extractions indexed and its log checkpointed; return the file."""
    from app.config import Settings
    from containers import create_container, running

    file = folder / "bench.db"
    settings = Settings(
        database=DatabaseSettings(url=f"sqlite:///{file}"),
        qdrant=QdrantSettings(mode="memory"),
        embedding=EmbeddingSettings(provider="deterministic"),
    )
    with running(create_container(settings)) as container:

        async def accept() -> None:
            for start in range(0, extractions, BATCH):
                batch = [item(number) for number in range(start, min(start + BATCH, extractions))]
                await container.ingestion().accept("bench", batch)

        asyncio.run(accept())
        engine: Engine = container.engine()
        with begin_write(engine) as connection:
            connection.execute(text("UPDATE extractions SET embedding_id = id"))
            connection.execute(text("UPDATE jobs SET status = 'completed'"))
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


def nothing(_done: int, _total: int) -> None:
    """Ignore the progress."""


class Contest:
    """The contestants, and :meth:`clean`, which removes the files of the last one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._copy = file.with_name("copy.db")

    def plain_copy(self) -> None:
        """Copy as ``cp`` and ``sync`` do."""
        shutil.copyfile(self._file, self._copy)
        sync(self._copy)

    def copy_in_slices(self) -> None:
        """Copy by only SQLite's online backup, as a backup does."""
        with sqlite_copy.reading(self._file) as connection:
            sqlite_copy.copy_to_new(connection, self._copy, nothing)
        sync(self._copy)

    def plain_copy_checked(self) -> None:
        """Make a plain copy with the checks of a backup."""
        self.plain_copy()
        self.integrity_check()
        self.hash()

    def integrity_check(self) -> None:
        """Check the copy, and count its contents."""
        with sqlite_copy.resting(self._copy) as connection:
            assert sqlite_copy.find_damage(connection, lambda: False) is None
            with sqlite_copy.wrapped(connection, self._copy) as ours:
                assert not read_contents(ours).is_empty

    def hash(self) -> None:
        """Hash the copy."""
        digest(self._copy, nothing)

    def backup(self) -> None:
        """Make a whole backup."""
        folder = BackupFolder(self._file.with_name("backups"))
        with folder.writing():
            make_backup(self._file, folder, Work(lambda *_: None))

    def clean(self) -> None:
        """Remove the files of the last contestant."""
        self._copy.unlink(missing_ok=True)
        shutil.rmtree(self._file.with_name("backups"), ignore_errors=True)


def measure(contest: Contest, repeats: int) -> dict[str, float]:
    """Measure the medians in seconds, by contestant."""
    runs: dict[str, Callable[[], None]] = {
        "plain copy": contest.plain_copy,
        "copy in slices": contest.copy_in_slices,
        "backup": contest.backup,
        "plain copy, checked": contest.plain_copy_checked,
    }
    times: dict[str, list[float]] = {name: [] for name in [*runs, "integrity_check", "hash"]}
    for _ in range(repeats):
        for name, run in runs.items():
            contest.clean()
            os.sync()
            times[name].append(seconds(run))
        times["integrity_check"].append(seconds(contest.integrity_check))
        times["hash"].append(seconds(contest.hash))
    return {name: statistics.median(each) for name, each in times.items()}


def seconds(run: Callable[[], None]) -> float:
    """Measure a call, in seconds."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--extractions", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backup-", dir=arguments.folder) as folder:
        file = fill(Path(folder), arguments.extractions)
        print(f"{arguments.extractions:,} extractions, {file.stat().st_size / 1e6:.0f} MB", flush=True)
        medians = measure(Contest(file), arguments.repeats)
    plain = medians["plain copy"]
    for name, took in medians.items():
        print(f"{name:24}{took * 1e3:10.0f} ms{took / plain:10.2f} x")
    checked = medians["backup"] / medians["plain copy, checked"]
    print(f"a backup against a plain copy with the same checks: {checked:.2f} x")
    print(f"the aim, {MOST:g} x a plain copy: {'met' if medians['backup'] <= MOST * plain else 'missed'}")


if __name__ == "__main__":
    main()
