"""A service that has no open file left: quiet, and back as soon as there is one."""

import resource
import socket
import time
from pathlib import Path

import pytest
from support.processes import serve_process
from support.service_client import client_of
from support.waiting import wait_for

pytestmark = pytest.mark.slow

FILES = 64


def test_it_says_so_once_in_a_while_and_comes_back(tmp_path: Path) -> None:
    with serve_process(tmp_path, {}) as service, client_of(service.url) as client:
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        before = len(service.log.read_bytes().splitlines())
        host, _, port = service.url.removeprefix("http://").partition(":")
        connections = [socket.create_connection((host, int(port)), timeout=5) for _ in range(6 * FILES)]
        time.sleep(4)
        lines = service.log.read_bytes().splitlines()[before:]
        for connection in connections:
            connection.close()
        wait_for(lambda: client.get("/health/live"), 10.0)
    told = [line for line in lines if b"has no open file left" in line]
    assert 1 <= len(told) <= 2
    assert len(lines) < 30, lines[:40]
