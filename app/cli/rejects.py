"""The file of refused lines, which never overwrites files of other kinds."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from app.errors import InvalidInput

if TYPE_CHECKING:
    from app.intake.rows import Reject

_MEMBERS = {"line", "reason", "raw"}
_FIRST_LINE_BYTES = 64 * 2**10
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # don't wait for a pipe's reader
_OWNER_ONLY = 0o600


class RejectsFile:
    """A file that is created when the first line is refused. Blocking; for one thread at a time.

    An existing file is overwritten only with ``replaces``, and only if it is empty or a file of
    refused lines. Links are never followed.
    """

    def __init__(self, path: Path, *, replaces: bool) -> None:
        self.path = path
        self._replaces = replaces
        self._file: BinaryIO | None = None

    def check(self) -> None:
        """Check that the file can be written, without creating or changing it.

        Raises:
            InvalidInput: there is a file that can't be overwritten.
        """
        if os.path.lexists(self.path):
            os.close(self._open_old())

    def write(self, rejects: "Iterable[Reject]") -> None:
        """Append refused lines.

        Raises:
            InvalidInput: the file can't be created or written.
        """
        import orjson

        file = self._file = self._file or self._open()
        for reject in rejects:
            raw = reject.raw.decode(errors="replace").rstrip("\r\n")
            line = {"line": reject.line, "reason": reject.reason, "raw": raw}
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Flush and close the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO:
        with suppress(FileExistsError):
            return os.fdopen(self._opened(_NEW), "wb")
        file = os.fdopen(self._open_old(), "wb")
        try:
            file.truncate(0)
            os.fchmod(file.fileno(), _OWNER_ONLY)
        except OSError as error:
            file.close()
            raise self._unwritable(error) from None
        return file

    def _open_old(self) -> int:
        """Open an existing file of refused lines, to be overwritten."""
        if not self._replaces:
            raise self._refusal("the file exists and isn't overwritten. Name another by --rejects")
        if self.path.is_symlink():
            raise self._refusal("it is a link, and links aren't followed. Name another by --rejects")
        descriptor = self._opened(_OLD)
        if not _is_ours(descriptor):
            os.close(descriptor)
            raise self._refusal(
                "it isn't a file of refused lines, so it isn't overwritten. Name another by --rejects"
            )
        return descriptor

    def _opened(self, flags: int) -> int:
        try:
            return os.open(self.path, flags, _OWNER_ONLY)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> InvalidInput:
        return self._refusal(f"it can't be written: {error.strerror}")

    def _refusal(self, reason: str) -> InvalidInput:
        return InvalidInput(f"the rejects file {self.path}: {reason}")


def _is_ours(descriptor: int) -> bool:
    """Whether this is a regular file with one name that is empty or begins with a refused line."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return False
    first, newline, _ = os.pread(descriptor, _FIRST_LINE_BYTES, 0).partition(b"\n")
    return not found.st_size or (bool(newline) and _is_reject(first))


def _is_reject(line: bytes) -> bool:
    import orjson

    try:
        reject = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(reject, dict) and reject.keys() == _MEMBERS
