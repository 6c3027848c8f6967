"""Where files are: what ``~`` and relative paths mean, and what a person is told of the place of the stores."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from app.settings.masking import masked_url

if TYPE_CHECKING:
    from app.settings.sections import QdrantSettings

HOME_VARIABLE = "AGENT_STORAGE_HOME"
"""Names the folder at which relative paths of the settings start, in place of the current directory."""

PATH_KEYS = ("qdrant.path", "qdrant.ca_file", "qdrant.cert_file", "qdrant.key_file", "embedding.path")
URL_KEY = "database.url"

_SQLITE = ("sqlite:///", "sqlite+pysqlite:///")


def home_folder(variables: Mapping[str, str | None]) -> Path | None:
    """The folder that ``AGENT_STORAGE_HOME`` names, absolute; ``variables`` have lower-case names.

    Raises:
        ValueError: it begins with ``~`` and a name that no user has.
    """
    named = (variables.get(HOME_VARIABLE.lower()) or "").strip()
    return Path(expanded(named)).resolve() if named else None


def expanded(path: str) -> str:
    """The path with the home folder in the place of ``~``, or of ``~user``.

    Raises:
        ValueError: there is no such user.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"{path.partition('/')[0]} is no user of this machine") from None


def expanded_url(url: str) -> str:
    """A database URL with the home folder in the place of a ``~`` at the start of SQLite's file.

    Raises:
        ValueError: there is no such user.
    """
    scheme = next((each for each in _SQLITE if url.startswith(each)), None)
    return url if scheme is None else scheme + expanded(url.removeprefix(scheme))


def with_port(url: str) -> str:
    """Qdrant's URL with its port: that of HTTPS, or Qdrant's own. What isn't a URL stays as it is, to be refused."""
    try:
        parts = urlsplit(url)
        port = {"https": 443, "http": 6333}.get(parts.scheme) if parts.port is None else None
    except ValueError:
        return url
    if port is None or not parts.hostname:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{port}"))


def based(path: str, folder: Path) -> str:
    """A path of the settings, which starts at that folder if it is relative."""
    return path if path.startswith("~") else str(folder / path.strip())


def based_url(url: str, folder: Path) -> str:
    """A database URL, whose SQLite file starts at that folder if it is relative."""
    file = database_file(url)
    if file is None or str(file).startswith("~"):
        return url
    head, separator, query = url.partition("?")
    return f"{head.partition('://')[0]}:///{folder / file}{separator}{query}"


def database_file(url: str) -> Path | None:
    """SQLite's file; None for another database, one in memory, and what SQLite itself reads as a URI."""
    scheme = next((each for each in _SQLITE if url.startswith(each)), None)
    if scheme is None:
        return None
    path, _, query = url.removeprefix(scheme).partition("?")
    in_memory = not path or ":memory:" in path or "mode=memory" in query.split("&")
    return None if in_memory or path.startswith("file:") else Path(path)


def database_place(url: str) -> str:
    """The database as a person is told of it: SQLite's file by its whole path, another by its URL without secrets."""
    file = database_file(url)
    return masked_url(url) if file is None else str(file.resolve())


def index_place(qdrant: "QdrantSettings") -> str:
    """The embedded engine's folder by its whole path; the address of a server, without secrets."""
    if qdrant.mode == "embedded":
        return str(Path(qdrant.path).resolve())
    return "memory alone" if qdrant.url is None else masked_url(qdrant.url)


def stores_told(database_url: str, qdrant: "QdrantSettings") -> str:
    """Where both stores are, for a person."""
    at = "at" if qdrant.mode == "server" else "in"
    return f"the database {database_place(database_url)}, and the index {at} {index_place(qdrant)}"
