"""How commands beside a service find it."""

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
    """For the time of the block, commands of this user on this machine find the service that holds the index.

    Where the index isn't a folder that this process has to itself, they need not: they work beside
    it.
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
    """Where this machine's programs reach the service: on loopback, if it listens on all addresses."""
    host, port = listening.getsockname()[:2]
    address = ip_address(host.partition("%")[0])
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - IPv4
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
