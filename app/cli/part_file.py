"""A file that has its name only once it is whole."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from app.errors import InvalidInput

_OPEN = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER_ONLY = 0o600


class PartFile:
    """Written beside its place, under a name that ends in ``.part``, and then put there in place of an older one.

    Blocking; for one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        """Begin it, in place of an older part.

        Raises:
            InvalidInput: it can't be made there, or another process is writing it.
        """
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path} is no file; name one, or leave it out for standard output")
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self._file = _locked(self.part)
        self._file.truncate()

    def write(self, piece: bytes) -> None:
        """Add to it.

        Raises:
            OSError: it can't be written.
        """
        self._file.write(piece)

    def finish(self) -> None:
        """It is whole: once it is on the disk, give it its name.

        Raises:
            OSError: it can't be written.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self.part.replace(self.path)
        self._file.close()

    def close(self) -> None:
        """Leave it as it is, under the name of a part.

        Raises:
            OSError: it can't be written.
        """
        self._file.close()

    def discard(self) -> None:
        """Take it away."""
        self.part.unlink(missing_ok=True)
        try:
            self._file.close()
        except OSError:  # the disk is full; nothing of it is wanted any more
            return


def _locked(part: Path) -> BinaryIO:
    try:
        file = os.fdopen(os.open(part, _OPEN, _OWNER_ONLY), "wb")
    except OSError as error:
        raise InvalidInput(f"{part} can't be written: {os.strerror(error.errno or 0)}") from None
    except ValueError:
        raise InvalidInput("the file's name holds the character U+0000") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = part.exists() and os.path.samestat(part.stat(), os.fstat(file.fileno()))
    except BlockingIOError:
        ours = False
    if not ours:  # or it was finished since it was opened: then this is the whole file, under its name
        file.close()
        raise InvalidInput(f"another process is writing {part}; wait for it, or name another file")
    return file
