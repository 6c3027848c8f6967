"""A note with the address of a running service, in the data folder that only it uses.

The note is locked while its writer lives. An unlocked note was left by a killed process, and is
ignored.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

logger = logging.getLogger(__name__)

NAME = ".service"
"""It can't clash with a collection, whose name begins with a letter or a digit."""

_OWNER_ONLY = 0o600
_MOST_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Holder:
    """The service that uses the folder: its address, database and embedder, without secrets."""

    url: str
    pid: int
    database: str
    embedder: str

    def __str__(self) -> str:
        return f"the service at {self.url} (process {self.pid}), which uses the database {self.database}"


@contextmanager
def noted(folder: Path, holder: Holder) -> Iterator[None]:
    """Keep a note in the folder during the block, so that its owner's commands find the service.

    If the note can't be written, a warning is logged, because the service works without it.
    """
    note: int | None = None
    try:
        note = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _OWNER_ONLY)
        fcntl.flock(note, fcntl.LOCK_EX)  # a command that is reading the note holds the lock only briefly
        os.fchmod(note, _OWNER_ONLY)
        os.ftruncate(note, 0)
        os.write(note, orjson.dumps(asdict(holder)))
    except OSError as error:
        logger.warning(
            "commands won't find this service automatically, and need --api %s: %s", holder.url, error.strerror
        )
    try:
        yield
    finally:
        if note is not None:
            with suppress(OSError):
                (folder / NAME).unlink(missing_ok=True)
            os.close(note)


def find_holder(folder: Path) -> Holder | None:
    """Find the service that uses the folder; None if there is none, or another user runs it."""
    try:
        note = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.geteuid() not in {0, os.fstat(note).st_uid}:
            return None  # the note's author would receive the API key that is sent to the address
        fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(orjson.JSONDecodeError, TypeError):  # it is being written
            return Holder(**orjson.loads(os.read(note, _MOST_BYTES)))
        return None
    else:
        return None
    finally:
        os.close(note)
