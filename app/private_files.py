"""Data folders and files that other users of the machine can't read, regardless of the umask."""

import os
from pathlib import Path

_FOLDER = 0o700
_FILE = 0o600


def make_private_folder(path: Path) -> None:
    """Create a folder and its missing parents; an existing one stays unchanged.

    Raises:
        OSError: it can't be created.
    """
    for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
        missing.mkdir(mode=_FOLDER, exist_ok=True)
    path.mkdir(exist_ok=True)  # fails if it is a file


def make_private_file(path: Path) -> None:
    """Create an empty file; an existing one stays unchanged.

    Raises:
        OSError: it can't be created.
    """
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, _FILE))
