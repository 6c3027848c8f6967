"""nginx in front of a service, with the documented location."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from support.cli import ROOT
from support.processes import end, free_port
from support.waiting import wait_for

PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")

needs_nginx = pytest.mark.skipif(PROGRAM is None, reason="needs nginx: install Debian's nginx-light")

_PAGE = ROOT / "docs" / "deploy.md"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def documented_location(service_url: str) -> str:
    """The documented location, with the URL of that service."""
    location: str
    [location] = re.findall(r"^```nginx\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "http://127.0.0.1:8000/" in location
    return location.replace("http://127.0.0.1:8000/", f"{service_url}/")


@contextmanager
def running_nginx(folder: Path, service_url: str) -> Iterator[str]:
    """Run nginx; return its URL."""
    port = free_port()
    places = "".join(f"{each}_temp_path {folder / each};" for each in _TEMPORARY)
    server = f"server {{ listen 127.0.0.1:{port}; {documented_location(service_url)} }}"
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder / 'pid'}; error_log {folder / 'error.log'}; events {{}} "
        f"http {{ access_log off; {places} {server} }}"
    )
    assert PROGRAM is not None
    process = subprocess.Popen([PROGRAM, "-c", configuration, "-e", folder / "error.log"])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _listens(url), 20.0)
        yield url
    finally:
        end(process)


def _listens(url: str) -> bool:
    try:
        httpx2.get(url, timeout=2)
    except httpx2.HTTPError:
        return False
    return True
