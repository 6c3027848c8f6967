"""Full disks and read-only folders, on any machine."""

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
    """A separate small disk mounted at ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, *, but: int = 0) -> None:
        """Leave only ``but`` bytes free."""
        disk = os.statvfs(self.folder)
        with self._filler.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - but)

    def free(self) -> None:
        """Remove the file of :meth:`fill`."""
        self._filler.unlink()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a tmpfs of ``size`` on ``folder``; skip the test if mounting isn't allowed."""
    folder.mkdir(exist_ok=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "agent-storage-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("needs root, outside of most containers, to mount a disk")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - found by PATH


@contextmanager
def no_more_pages(engine: Engine) -> Iterator[None]:
    """Prevent SQLite's file from growing, so that SQLite fails as on a full disk."""

    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

    event.listen(engine, "begin", limit)
    try:
        most = 1  # SQLite raises it to the current number of pages
        yield
        most = 2**31
        with engine.begin():
            pass
    finally:
        event.remove(engine, "begin", limit)


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a temporary folder that every user can access, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make ``folder`` and its contents read-only.

    Root ignores file modes, so root's process runs as another user meanwhile.
    """
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
