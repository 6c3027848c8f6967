"""Lets commands on the same machine find a running service."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from app.config import Settings
from app.service_note import Holder, noted
from app.settings.places import database_place


@contextmanager
def findable(settings: Settings, listening: socket.socket) -> Iterator[None]:
    """Let this user's commands on this machine find the service during the block.

    Only an embedded index needs this, because the service's process has it locked. With a Qdrant
    server, commands work beside the service.
    """
    folder = Path(settings.qdrant.path)
    if settings.qdrant.mode != "embedded" or not folder.is_dir():
        yield
        return
    database, embedder = database_place(settings.database.url), settings.embedding.label
    holder = Holder(url_of(listening), os.getpid(), database, embedder)
    with noted(folder, holder):
        yield


def url_of(listening: socket.socket) -> str:
    """The service's URL for local programs: on loopback, if it listens on all addresses."""
    host, port = listening.getsockname()[:2]
    address = ip_address(host.partition("%")[0])
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - IPv4
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
