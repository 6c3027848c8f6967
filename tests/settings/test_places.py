"""What paths of the settings mean."""

from pathlib import Path

import pytest

from app.settings.places import (
    based,
    based_url,
    database_file,
    database_place,
    expanded,
    expanded_url,
    home_folder,
    with_port,
)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("~", "/home/me"), ("~/a/b", "/home/me/a/b"), ("a/~", "a/~"), ("/x", "/x"), ("", "")],
)
def test_a_tilde_is_the_home_folder(written: str, meant: str) -> None:
    assert expanded(written) == meant


def test_a_tilde_of_nobody_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="~nobody-of-that-name isn't a user"):
        expanded("~nobody-of-that-name/x")


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://qdrant.example.org", "https://qdrant.example.org:443"),
        ("https://qdrant.example.org/prefix", "https://qdrant.example.org:443/prefix"),
        ("http://localhost", "http://localhost:6333"),
        ("https://host:6333", "https://host:6333"),
        ("http://[::1]/x", "http://[::1]:6333/x"),
        ("https://host:", "https://host:443"),
        ("ftp://host", "ftp://host"),
        ("https://host:port", "https://host:port"),
        ("nonsense", "nonsense"),
    ],
)
def test_the_port_of_a_url_is_that_of_its_scheme(url: str, meant: str) -> None:
    assert with_port(url) == meant


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("sqlite:///~/a.db", "sqlite:////home/me/a.db"),
        ("sqlite+pysqlite:///~/a.db?x=1", "sqlite+pysqlite:////home/me/a.db?x=1"),
        ("sqlite:///a/~.db", "sqlite:///a/~.db"),
        ("sqlite://", "sqlite://"),
        ("postgresql://~user:p@host/x", "postgresql://~user:p@host/x"),
    ],
)
def test_a_tilde_in_a_database_url(url: str, meant: str) -> None:
    assert expanded_url(url) == meant


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("sqlite:///data/a.db", "sqlite:////srv/store/data/a.db"),
        ("sqlite+pysqlite:///a.db?x=1&y=2", "sqlite+pysqlite:////srv/store/a.db?x=1&y=2"),
        ("sqlite:////var/a.db", "sqlite:////var/a.db"),
        ("sqlite:///~/a.db", "sqlite:///~/a.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:a.db?uri=true", "sqlite:///file:a.db?uri=true"),
        ("sqlite:///a?mode=memory", "sqlite:///a?mode=memory"),
        ("postgresql://user:p@host/x", "postgresql://user:p@host/x"),
        ("nonsense", "nonsense"),
    ],
)
def test_relative_files_start_at_the_folder(url: str, meant: str) -> None:
    assert based_url(url, Path("/srv/store")) == meant


def test_relative_paths_start_at_the_folder() -> None:
    folder = Path("/srv/store")
    assert [based(path, folder) for path in ("a/b", "/a", "~/a", " a ")] == [
        "/srv/store/a/b",
        "/a",
        "~/a",
        "/srv/store/a",
    ]


def test_the_folder_is_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_folder({}) is None
    assert home_folder({"agent_storage_home": " "}) is None
    assert home_folder({"agent_storage_home": "~/x"}) == Path("/home/me/x")
    assert home_folder({"agent_storage_home": "x"}) == tmp_path.resolve() / "x"


def test_a_database_is_told_by_its_file_or_by_its_url_without_secrets() -> None:
    assert database_place("sqlite:////srv/a.db?x=1") == "/srv/a.db"
    assert database_file("sqlite:///a.db") == Path("a.db")
    assert database_place("postgresql+psycopg://me:hidden@host/x") == "postgresql+psycopg://me:********@host/x"
