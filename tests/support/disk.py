"""Disks that run full and folders that can't be written to, on any machine."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

_NOBODY = 65_534


class SmallDisk:
    """A disk of its own at ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, *, but: int = 0) -> None:
        """Leave only ``but`` bytes free."""
        disk = os.statvfs(self.folder)
        with self._filler.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - but)

    def free(self) -> None:
        """Take away what :meth:`fill` has filled it with."""
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """A tmpfs of that ``size`` mounted on ``folder``; skips the test where nothing may be mounted."""
    folder.mkdir(exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "agent-storage-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own can be mounted by root alone, outside of most containers")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - wherever it is


@contextmanager
def no_more_pages(engine: Engine) -> Iterator[None]:
    """SQLite's file can't grow meanwhile: SQLite itself fails as it does on a full disk, without one."""

    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

    event.listen(engine, "begin", limit)
    try:
        most = 1  # raised by SQLite to as many as there are
        yield
        most = 2**31
        with engine.begin():
            pass
    finally:
        event.remove(engine, "begin", limit)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user may reach, unlike pytest's own; removed at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in ``folder`` can be written to meanwhile; root, whom no mode keeps out, is somebody else meanwhile."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
