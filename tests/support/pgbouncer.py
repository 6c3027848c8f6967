"""pgbouncer, from Debian's package, in front of the test's PostgreSQL server."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from support.processes import end, free_port

POOL_SIZE = 2
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="needs the program pgbouncer, from Debian's package"
)

_CONFIG = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
"""


@contextmanager
def running_pgbouncer(folder: Path, server_url: str) -> Iterator[int]:
    """Run pgbouncer; return its port on the loopback.

    It pools by transaction, with ``POOL_SIZE`` connections to each of the server's databases.
    """
    port = free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(_CONFIG.format(server=_server(server_url), port=port, pool_size=POOL_SIZE))
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([*_command(server_url), str(config)], stdout=log, stderr=log)
    try:
        _wait_until_open(process, port)
        yield port
    finally:
        end(process)


def through(port: int, url: str) -> str:
    """The URL of a database through the pgbouncer at ``port``."""
    return f"postgresql://postgres@127.0.0.1:{port}/{make_url(url).database}"


def _command(server_url: str) -> Sequence[str]:
    assert PROGRAM is not None
    if os.geteuid() != 0:
        return [PROGRAM]
    # It refuses to run as root, and only the owner may access the folder of the server's socket.
    host = str(_host(server_url))
    return [PROGRAM, f"--user={Path(host).owner() if host.startswith('/') else 'nobody'}"]


def _host(url: str) -> object:
    """The host of a URL: a name, or the folder of a socket."""
    parsed = make_url(url)
    return parsed.query.get("host", parsed.host)


def _server(url: str) -> str:
    parsed = make_url(url)
    parts = {
        "host": _host(url),
        "port": parsed.port or 5432,
        "user": parsed.username or "postgres",
        "password": parsed.password,
    }
    return " ".join(f"{name}={value}" for name, value in parts.items() if value)


def _wait_until_open(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, "pgbouncer ended"
        assert time.monotonic() < deadline, "pgbouncer never listened"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
