"""Folders and files of the data, which no other user of the machine may read, whatever the umask."""

import os
from pathlib import Path

_FOLDER = 0o700
_FILE = 0o600


def make_private_folder(path: Path) -> None:
    """Make the folder, and those above it that are missing; one that is there stays as it is.

    Raises:
        OSError: it can't be made.
    """
    for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
        missing.mkdir(mode=_FOLDER, exist_ok=True)
    path.mkdir(exist_ok=True)  # a file of that name is refused


def make_private_file(path: Path) -> None:
    """Make an empty file; one that is there stays as it is.

    Raises:
        OSError: it can't be made.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, _FILE))
