"""Programs of this project as processes that start fast; see :mod:`support.forkserver`."""

import atexit
import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Self

from support.forkserver import Program

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent

_NUMBER_BYTES = 16
_Stream = int | IO[bytes]


class Process:
    """The part of ``subprocess.Popen`` that tests need.

    A stream given as ``subprocess.PIPE`` is the attribute with that name.
    """

    def __init__(
        self,
        program: Program,
        *,
        stdin: _Stream = subprocess.DEVNULL,
        stdout: _Stream = subprocess.DEVNULL,
        stderr: _Stream = subprocess.DEVNULL,
    ) -> None:
        """Start the program."""
        self._told, keeper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as given:
            given.enter_context(keeper)
            self.stdin, its_stdin = _connected(given, stdin, "wb")
            self.stdout, its_stdout = _connected(given, stdout, "rb")
            self.stderr, its_stderr = _connected(given, stderr, "rb")
            streams = [its_stdin, its_stdout, its_stderr, keeper.fileno()]
            socket.send_fds(fork_server(), [program.encoded()], streams)
        self.pid = int(self._told.recv(_NUMBER_BYTES))
        self.args = [program.module, *program.arguments]
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the program runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, ``timeout`` seconds at most."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = int(self._told.recv(_NUMBER_BYTES))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            self._told.close()
        return self.returncode

    def communicate(self, content: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Write ``content``, read all output, and wait for the end."""
        with ThreadPoolExecutor(3) as threads:
            feeding = threads.submit(self._feed, content)
            reading = [threads.submit(_drained, stream) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            feeding.result()
            out, err = (read.result() for read in reading)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in filter(None, (self.stdin, self.stdout, self.stderr)):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.wait()

    def _feed(self, content: bytes | None) -> None:
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(content or b"")


def _drained(stream: IO[bytes] | None) -> bytes:
    if stream is None:
        return b""
    with stream:
        return stream.read()


def _connected(given: contextlib.ExitStack, stream: _Stream, mode: str) -> tuple[IO[bytes] | None, int]:
    """Return this side's end of a stream, if there is one, and the program's end.

    ``given`` closes the program's end here if it was opened here.
    """
    if stream == subprocess.PIPE:
        reading, writing = os.pipe()
        ours, theirs = (writing, reading) if mode == "wb" else (reading, writing)
        given.callback(os.close, theirs)
        return open(ours, mode), theirs  # noqa: PTH123 - the attribute's owner closes it
    if stream == subprocess.DEVNULL:
        theirs = os.open(os.devnull, os.O_RDWR)
        given.callback(os.close, theirs)
        return None, theirs
    return None, stream if isinstance(stream, int) else stream.fileno()


@functools.cache
def fork_server() -> socket.socket:
    """Return the socket of this process's fork server, which ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
        "OPENBLAS_NUM_THREADS": "1",  # threads don't survive a fork
    }
    command = [sys.executable, "-m", "support.forkserver", str(theirs.fileno())]
    server = subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
    )
    theirs.close()

    @atexit.register
    def end() -> None:
        ours.close()
        server.wait(timeout=30)

    return ours
