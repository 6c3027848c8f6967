"""Paths in settings: ``~`` and relative paths, and the stores' locations for display."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from app.settings.masking import masked_url

if TYPE_CHECKING:
    from app.settings.sections import QdrantSettings

HOME_VARIABLE = "AGENT_STORAGE_HOME"
"""The variable for the folder that relative paths start at, instead of the current directory."""

PATH_KEYS = ("qdrant.path", "qdrant.ca_file", "qdrant.cert_file", "qdrant.key_file", "embedding.path")
URL_KEY = "database.url"

_SQLITE = ("sqlite:///", "sqlite+pysqlite:///")


def home_folder(variables: Mapping[str, str | None]) -> Path | None:
    """Return the absolute folder of ``AGENT_STORAGE_HOME``; ``variables`` have lower-case names.

    Raises:
        ValueError: it begins with ``~`` and the name of an unknown user.
    """
    named = (variables.get(HOME_VARIABLE.lower()) or "").strip()
    return Path(expanded(named)).resolve() if named else None


def expanded(path: str) -> str:
    """Replace ``~`` or ``~user`` at the start of a path with the home folder.

    Raises:
        ValueError: there is no such user.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"{path.partition('/')[0]} isn't a user of this machine") from None


def expanded_url(url: str) -> str:
    """Replace ``~`` at the start of SQLite's file in a database URL with the home folder.

    Raises:
        ValueError: there is no such user.
    """
    scheme = next((each for each in _SQLITE if url.startswith(each)), None)
    return url if scheme is None else scheme + expanded(url.removeprefix(scheme))


def with_port(url: str) -> str:
    """Add the default port to Qdrant's URL: 443 for HTTPS, 6333 for HTTP.

    An invalid URL stays as it is, and is refused later.
    """
    try:
        parts = urlsplit(url)
        port = {"https": 443, "http": 6333}.get(parts.scheme) if parts.port is None else None
    except ValueError:
        return url
    if port is None or not parts.hostname:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{port}"))


def based(path: str, folder: Path) -> str:
    """Resolve a path of the settings against ``folder`` if it is relative."""
    return path if path.startswith("~") else str(folder / path.strip())


def based_url(url: str, folder: Path) -> str:
    """Resolve the SQLite file of a database URL against ``folder`` if it is relative."""
    file = database_file(url)
    if file is None or str(file).startswith("~"):
        return url
    head, separator, query = url.partition("?")
    return f"{head.partition('://')[0]}:///{folder / file}{separator}{query}"


def database_file(url: str) -> Path | None:
    """Return SQLite's file; None for other databases, one in memory, and SQLite's own file URIs."""
    scheme = next((each for each in _SQLITE if url.startswith(each)), None)
    if scheme is None:
        return None
    path, _, query = url.removeprefix(scheme).partition("?")
    in_memory = not path or ":memory:" in path or "mode=memory" in query.split("&")
    return None if in_memory or path.startswith("file:") else Path(path)


def database_place(url: str) -> str:
    """Describe the database: SQLite's file by its absolute path, others by their masked URL."""
    file = database_file(url)
    return masked_url(url) if file is None else str(file.resolve())


def index_place(qdrant: "QdrantSettings") -> str:
    """Describe the index: the embedded engine's absolute path, or a server's masked URL."""
    if qdrant.mode == "embedded":
        return str(Path(qdrant.path).resolve())
    return "memory only" if qdrant.url is None else masked_url(qdrant.url)


def described_stores(database_url: str, qdrant: "QdrantSettings") -> str:
    """Describe the locations of both stores."""
    at = "at" if qdrant.mode == "server" else "in"
    return f"the database {database_place(database_url)}, and the index {at} {index_place(qdrant)}"
