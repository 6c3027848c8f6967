"""Where a service of this machine can be reached, noted in the folder that it has to itself.

The note is locked as long as its writer lives, however that ends. Without a lock it is what a killed process has left,
and says nothing.
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
"""No collection is called that, since its name begins with a letter or a digit."""

_OWNER_ONLY = 0o600
_MOST_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Holder:
    """A service that has the folder: where it listens, and what it works with, without secrets."""

    url: str
    pid: int
    database: str
    embedder: str

    def __str__(self) -> str:
        return f"the service at {self.url} (process {self.pid}), which works on the database {self.database}"


@contextmanager
def noted(folder: Path, holder: Holder) -> Iterator[None]:
    """For the time of the block, commands that look in the folder find the service; so may its owner alone.

    A note that can't be written is logged, because the service can do without.
    """
    note: int | None = None
    try:
        note = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _OWNER_ONLY)
        fcntl.flock(note, fcntl.LOCK_EX)  # at once, but for a command that just looks
        os.fchmod(note, _OWNER_ONLY)
        os.ftruncate(note, 0)
        os.write(note, orjson.dumps(asdict(holder)))
    except OSError as error:
        logger.warning(
            "commands beside this service won't find it, and need --api %s: %s", holder.url, error.strerror
        )
    try:
        yield
    finally:
        if note is not None:
            with suppress(OSError):
                (folder / NAME).unlink(missing_ok=True)
            os.close(note)


def find_holder(folder: Path) -> Holder | None:
    """The service that has the folder; None where none does, or this process's user may not know."""
    try:
        note = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.geteuid() not in {0, os.fstat(note).st_uid}:
            return None  # whoever wrote it would get the key that is sent there
        fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(orjson.JSONDecodeError, TypeError):  # it is being written
            return Holder(**orjson.loads(os.read(note, _MOST_BYTES)))
        return None
    else:
        return None
    finally:
        os.close(note)
