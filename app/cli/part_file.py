"""A file that gets its final name only once it is complete."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from app.errors import InvalidInput

_OPEN = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER_ONLY = 0o600


class PartFile:
    """A file written under a name ending in ``.part``, and renamed over ``path`` when complete.

    Blocking; for one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        """Create the part file, replacing an older one.

        Raises:
            InvalidInput: the file can't be created, or another process is writing it.
        """
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path} is no file; name one, or leave it out for standard output")
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self._file = _locked(self.part)
        self._file.truncate()

    def write(self, piece: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: the file can't be written.
        """
        self._file.write(piece)

    def finish(self) -> None:
        """Sync the complete file to disk, and give it its final name.

        Raises:
            OSError: the file can't be written.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self.part.replace(self.path)
        self._file.close()

    def close(self) -> None:
        """Close the incomplete file, which keeps its ``.part`` name.

        Raises:
            OSError: the file can't be written.
        """
        self._file.close()

    def discard(self) -> None:
        """Delete the file."""
        self.part.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:  # the disk is full, which no longer matters
            return


def _locked(part: Path) -> BinaryIO:
    try:
        file = os.fdopen(os.open(part, _OPEN, _OWNER_ONLY), "wb")
    except OSError as error:
        raise InvalidInput(f"{part} can't be written: {os.strerror(error.errno or 0)}") from None
    except ValueError:
        raise InvalidInput("the file's name contains the character U+0000") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = part.exists() and os.path.samestat(part.stat(), os.fstat(file.fileno()))
    except BlockingIOError:
        ours = False
    if not ours:  # locked, or finished and renamed by the other process since it was opened here
        file.close()
        raise InvalidInput(f"another process is writing {part}; wait for it, or name another file")
    return file
