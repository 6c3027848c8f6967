import logging
from pathlib import Path
from typing import Any

import pytest
from support.settings import SECRET, SECTIONS, enter_empty_place, keys_of, problems_of, write_yaml

from app.config import Settings, load_settings, read_settings
from app.errors import ConfigurationError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and an environment without settings."""
    return enter_empty_place(tmp_path, monkeypatch)


# --- which file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_variable_names_the_file(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_yaml(folder / "config.yml", {"database": {"pool_size": 2}})
    named = write_yaml(folder / "named.yml", {"database": {"max_overflow": 3}})
    if place == "environment":
        monkeypatch.setenv("AGENT_STORAGE_CONFIG", str(named))
    else:
        (folder / ".env").write_text(f"AGENT_STORAGE_CONFIG={named}\n")
    settings = load_settings()
    assert (settings.db_pool_size, settings.db_max_overflow) == (5, 3)


def test_the_argument_wins_over_the_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_STORAGE_CONFIG", str(folder / "missing.yml"))
    assert load_settings(write_yaml(folder / "mine.yml", {"api": {"port": 81}})).api.port == 81


def test_the_environment_names_the_file_rather_than_dotenv(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("AGENT_STORAGE_CONFIG=missing.yml\n")
    monkeypatch.setenv("AGENT_STORAGE_CONFIG", str(write_yaml(folder / "named.yml", {"api": {"port": 81}})))
    assert load_settings().api.port == 81


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "\ufeffapi:\n  port: 8000\n", "api:\r\n  port: 8000\r\n"]
)
def test_a_file_that_sets_nothing_new_is_fine(text: str, folder: Path) -> None:
    (folder / "config.yml").write_bytes(text.encode())
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read: No such file or directory"),
        (b"- a\n- b\n", "must be a mapping of sections"),
        (b"hello", "must be a mapping of sections"),
        (b"api: {port: [hunter2\nx: : y", "must be valid YAML; it isn't at line 2, column"),
        (b"api: *hunter2", "must be valid YAML; it isn't at line 1, column 6"),
        (b"api: !!python/object:os.system {}", "must be valid YAML; it isn't at line 1, column 6"),
        (b"\xff\xfe\x00", "must be valid YAML in UTF-8"),
        (b"a: \x00", "must be valid YAML in UTF-8"),
        (b"[" * 500, "must be valid YAML"),
        (b"api: {}\n---\napi: {}\n", "must be valid YAML; it isn't at line 2"),
    ],
)
@pytest.mark.parametrize("named_by", ["--config", "AGENT_STORAGE_CONFIG"])
def test_a_named_file_that_is_unusable_is_refused(
    content: bytes | None, said: str, named_by: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "named.yml"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("AGENT_STORAGE_CONFIG", str(file))
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file if named_by == "--config" else None)
    (problem,) = caught.value.problems
    assert (problem.key, problem.value) == ("config file", f"{file} ({named_by})")
    assert problem.allowed.startswith(said)
    assert SECRET not in str(caught.value)


def test_a_directory_is_no_file(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: Is a directory"):
        load_settings(folder)


def test_nothing_is_filled_in_in_a_dotenv_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret may have these characters; what looks like a variable is reported."""
    monkeypatch.setenv("X", "filled")
    (folder / ".env").write_text(
        "QDRANT_API_KEY=a${X}b$c\nDATABASE_URL='postgresql://u:${PASSWORD}@h/n'\nOTHER=${X}\n"
    )
    reading = read_settings()
    assert reading.settings is not None
    assert reading.settings.qdrant.api_key is not None
    assert reading.settings.qdrant.api_key.get_secret_value() == "a${X}b$c"
    assert reading.warnings == (
        "DATABASE_URL (.env) has ${PASSWORD}, which is used as written: variables aren't expanded there",
        "QDRANT_API_KEY (.env) has ${X}, which is used as written: variables aren't expanded there",
    )


def test_a_dotenv_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / ".env").write_bytes(b"DATABASE_POOL_SIZE=\xff\n")
    with pytest.raises(ConfigurationError, match=r"\.env = the file: must be UTF-8 text"):
        load_settings()


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("database.pool_sise", "database.pool_size"),
        ("database.poolsize", "database.pool_size"),
        ("qdrant.apikey", "qdrant.api_key"),
        ("api.keys", "api.api_keys"),
        ("logging.lvl", "logging.level"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(key: str, nearest: str, folder: Path) -> None:
    section, _, name = key.partition(".")
    (problem,) = problems_of({section: {name: SECRET}}, folder)
    assert (problem.key, problem.allowed) == (key, f"isn't a setting; the nearest is {nearest}")
    assert "given.yml" in problem.value
    assert SECRET not in problem.value


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("databse", {"url": f"postgresql://me:{SECRET}@db"}, "database"),
        ("pool_size", 5, "database.pool_size"),
        ("worker.batch_size", 5, "worker.batch_size"),
        ("Database", {}, "database"),
    ],
)
def test_an_unknown_section_is_refused_with_the_nearest(
    name: str, value: Any, nearest: str, folder: Path
) -> None:
    (problem,) = problems_of({name: value}, folder)
    assert (problem.key, problem.allowed) == (name, f"isn't a setting; the nearest is {nearest}")
    assert SECRET not in problem.value


def test_a_section_must_be_a_mapping(folder: Path) -> None:
    (problem,) = problems_of({"api": f"http://{SECRET}"}, folder)
    names = ", ".join(SECTIONS["api"].model_fields)
    assert (problem.key, problem.allowed) == ("api", f"must be a mapping with some of {names}")
    assert names.startswith("host, port, api_keys, ")
    assert SECRET not in problem.value


def test_a_key_written_twice_is_refused(folder: Path) -> None:
    (folder / "config.yml").write_text("api: {port: 1, port: 2}\ndatabase: {}\napi: {port: 3}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert keys_of(list(caught.value.problems)) == ["api", "api.port"]


def test_what_runs_containers_may_set_variables_of_that_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("CONTAINER", "CONTAINER_NAME", "CONTAINER_ID", "CONTAINER_HOST", "CONTAINER_FACTROY"):
        monkeypatch.setenv(name, "podman")
    with caplog.at_level(logging.WARNING):
        assert load_settings().container.factory is None
    assert caplog.messages == [
        "CONTAINER_FACTROY (environment) isn't a setting and is ignored; the nearest is CONTAINER_FACTORY"
    ]


@pytest.mark.parametrize("section", sorted(SECTIONS.keys() - {"container"}))
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_unknown_variable_is_a_warning(
    section: str, place: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"{section.upper()}_SERVICE_HOST"
    if place == "environment":
        monkeypatch.setenv(name, SECRET)
    else:
        (folder / ".env").write_text(f"{name}={SECRET}\nUNRELATED=1\n")
    with caplog.at_level(logging.WARNING):
        assert load_settings() == Settings()
    (message,) = caplog.messages
    assert message.startswith(f"{name} ({place}) isn't a setting and is ignored; the nearest is ")
    assert SECRET not in message


def test_a_mistyped_variable_is_told_its_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOLSIZE", "1")
    monkeypatch.setenv("DB_POOLSIZE", "1")
    assert [warning.split()[-1] for warning in read_settings().warnings] == [
        "DATABASE_POOL_SIZE",
        "DB_POOL_SIZE",
    ]


@pytest.mark.parametrize("name", ["DATABASE", "API", "WORKER", "DATABASES", "MY_DATABASE_URL"])
def test_other_variables_are_no_concern_of_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "{not json")
    reading = read_settings()
    assert (reading.settings, reading.warnings) == (Settings(), ())


# --- what a plain value means ---------------------------------------------------------------------


def test_a_number_with_leading_zeros_is_decimal(folder: Path) -> None:
    """YAML 1.1 takes it for an octal one, 16."""
    (folder / "config.yml").write_text("database:\n  pool_size: 020\n")
    assert load_settings().db_pool_size == 20


@pytest.mark.parametrize("written", ["1:30", "0x10", "0b11", "2026-01-01"])
def test_what_only_yaml_1_1_takes_for_a_number_is_refused(written: str, folder: Path) -> None:
    (folder / "config.yml").write_text(f"database:\n  pool_timeout: {written}\n")
    with pytest.raises(ConfigurationError, match=r"database\.pool_timeout"):
        load_settings()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2026-01-01", "2026-01-01"),
        ("no", "no"),
        ("010", "010"),
        ("1_000", "1_000"),
        ("190:20:30", "190:20:30"),
        ("0x1F", "0x1F"),
    ],
)
def test_a_plain_text_stays_text(written: str, value: str, folder: Path) -> None:
    (folder / "config.yml").write_text(f"embedding:\n  text_fields: [{written}]\n")
    assert load_settings().embedding.text_fields == (value,)


@pytest.mark.parametrize(
    ("written", "value"), [("5", 5.0), ("0.5", 0.5), ("1e1", 10.0), ("2.5E-1", 0.25), ("+3.", 3.0), (".5", 0.5)]
)
def test_a_number_is_one(written: str, value: float, folder: Path) -> None:
    (folder / "config.yml").write_text(f"database:\n  pool_timeout: {written}\n")
    assert load_settings().db_pool_timeout == value


@pytest.mark.parametrize("written", ["", " null", " ~", " Null"])
def test_null_is_null(written: str, folder: Path) -> None:
    (folder / "config.yml").write_text(f"worker:\n  port:{written}\n")
    assert load_settings().worker.port is None
