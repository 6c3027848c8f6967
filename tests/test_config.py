import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dependency_injector import providers
from pydantic import SecretStr, ValidationError
from support.settings import (
    KEYS,
    SECRET,
    description,
    enter_empty_place,
    environment_without_settings,
    variable,
    write_yaml,
)

import app.config
from app.config import Settings, load_settings, read_settings
from app.settings.sources import ALIASES

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and an environment without settings."""
    return enter_empty_place(tmp_path, monkeypatch)


def python(code: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**environment_without_settings(), "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


# --- defaults, and the file that documents them ---------------------------------------------------


def test_defaults_alone_without_any_source() -> None:
    settings = load_settings()
    assert (settings.db_pool_size, settings.db_max_overflow, settings.db_pool_timeout) == (5, 10, 30.0)
    assert settings.database_url == "sqlite:///data/agent-storage.db"
    assert settings.qdrant.mode == "embedded"
    assert settings == Settings()


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    assert load_settings(ROOT / "config.yml") == Settings()


def test_the_shipped_file_has_every_setting_and_each_has_a_comment() -> None:
    text = (ROOT / "config.yml").read_text()
    document = yaml.safe_load(text)
    assert sorted(f"{section}.{key}" for section, values in document.items() for key in values) == sorted(KEYS)
    assert re.findall(r"(?m)^(?!  #).*\n  (\w+):", text.replace(":\n  #", ":#\n  #")) == []


def test_every_setting_says_what_is_allowed() -> None:
    assert [key for key in KEYS if not description(key)] == []


# --- sources and their precedence -----------------------------------------------------------------

PRINT_POOL_SIZE = "from app.config import settings; print(settings.db_pool_size)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "variable", ["DATABASE_POOL_SIZE", "DB_POOL_SIZE", "database_pool_size", "Db_Pool_Size"]
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_process_reads_a_variable(variable: str, place: str, folder: Path) -> None:
    if place == ".env":
        (folder / ".env").write_text(f"{variable}=10\n")
    done = python(PRINT_POOL_SIZE, folder, **({variable: "10"} if place == "environment" else {}))
    assert (done.stdout, done.stderr) == ("10\n", "")


def test_a_process_reads_the_yaml_file_in_its_directory(folder: Path) -> None:
    write_yaml(folder / "config.yml", {"database": {"pool_size": 10}})
    assert python(PRINT_POOL_SIZE, folder).stdout == "10\n"


def test_a_process_with_unusable_settings_says_why(folder: Path) -> None:
    done = python(PRINT_POOL_SIZE, folder, DATABASE_POOL_SIZE="0")
    assert done.returncode == 1
    assert (
        "database.pool_size = 0 (environment DATABASE_POOL_SIZE): must be a whole number, 1 or more"
        in done.stderr
    )


def test_importing_reads_nothing_and_nothing_heavy(folder: Path) -> None:
    (folder / "config.yml").write_text("not: [valid")
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
import app.config
assert not [name for name in opened if str(name).endswith((".yml", ".env"))], opened
assert not {"yaml", "sqlalchemy", "rich.table", "qdrant_client"} & set(sys.modules)
try:
    app.config.settings
except app.config.ConfigurationError:
    print("refused at first use")
"""
    assert python(code, folder).stdout == "refused at first use\n"


SOURCES = ["environment", ".env", "config.yml"]
SUBSETS = [subset for size in range(4) for subset in itertools.combinations(SOURCES, size)]


@pytest.mark.parametrize("variable", ["DATABASE_POOL_SIZE", "DB_POOL_SIZE"])
@pytest.mark.parametrize("present", SUBSETS, ids=" ".join)
def test_the_strongest_source_wins(
    present: tuple[str, ...], variable: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "environment" in present:
        monkeypatch.setenv(variable, "11")
    if ".env" in present:
        (folder / ".env").write_text(f"{variable}=12\n")
    if "config.yml" in present:
        write_yaml(folder / "config.yml", {"database": {"pool_size": 13}})
    expected = {"environment": 11, ".env": 12, "config.yml": 13, None: 5}
    source = {"environment": f"environment {variable}", ".env": f".env {variable}", "config.yml": "config.yml"}
    winner = present[0] if present else None
    reading = read_settings()
    assert reading.settings
    assert reading.settings.db_pool_size == expected[winner]
    entry = next(entry for entry in reading.entries if entry.key == "database.pool_size")
    assert (entry.value, entry.source) == (expected[winner], source.get(winner or "", "default"))


def test_sources_add_up_setting_by_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", "11")
    (folder / ".env").write_text("DATABASE_MAX_OVERFLOW=12\n")
    write_yaml(folder / "config.yml", {"database": {"pool_timeout": 13, "pool_size": 1}, "api": None})
    database = load_settings().database
    assert (database.pool_size, database.max_overflow, database.pool_timeout) == (11, 12, 13.0)
    assert database.pool_recycle == 1800


@pytest.mark.parametrize("alias", ALIASES)
def test_the_full_name_wins_over_its_alias_in_one_place(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(alias.upper(), "21")
    monkeypatch.setenv(ALIASES[alias].upper(), "22")
    assert getattr(load_settings(), alias) == 22


def test_an_alias_in_the_environment_wins_over_a_full_name_in_dotenv(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("DATABASE_POOL_SIZE=12\n")
    monkeypatch.setenv("DB_POOL_SIZE", "11")
    assert load_settings().db_pool_size == 11


def test_an_empty_variable_is_not_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("DATABASE_MAX_OVERFLOW=\nDATABASE_POOL_TIMEOUT\n")
    monkeypatch.setenv("DATABASE_POOL_SIZE", "")
    monkeypatch.setenv("DB_POOL_SIZE", "7")
    monkeypatch.setenv("QDRANT_URL", "")
    settings = load_settings()
    assert (settings.db_pool_size, settings.db_max_overflow, settings.qdrant.url) == (7, 10, None)


WRITTEN: dict[str, tuple[str, object]] = {
    "database.url": ("postgresql://me@db/x", "postgresql+psycopg://me@db/x"),
    "database.pool_size": ("8", 8),
    "database.max_overflow": ("11", 11),
    "database.pool_timeout": ("1.5", 1.5),
    "database.pool_recycle": ("60", 60),
    "database.statement_timeout": ("61", 61.0),
    "database.idle_in_transaction_timeout": ("62", 62.0),
    "database.prepared_statements": ("false", False),
    "api.keep_alive": ("80", 80.0),
    "api.root_path": ("/storage", "/storage"),
    "api.cors_origins": ("https://a.example, http://b:3000", ("https://a.example", "http://b:3000")),
    "database.data_indexes": ("price.amount, sku", ("price.amount", "sku")),
    "qdrant.url": ("https://cloud:6333/prefix", "https://cloud:6333/prefix"),
    "qdrant.mode": ("memory", "memory"),
    "qdrant.path": ("/srv/q", "/srv/q"),
    "qdrant.api_key": ("k", SecretStr("k")),
    "qdrant.timeout": ("3", 3),
    "qdrant.retry_timeout": ("4", 4.0),
    "qdrant.prefer_grpc": ("TRUE", True),
    "qdrant.collection": ("staging", "staging"),
    "qdrant.grpc_port": ("6335", 6335),
    "qdrant.ca_file": ("/etc/ca.pem", "/etc/ca.pem"),
    "qdrant.cert_file": ("/etc/cert.pem", "/etc/cert.pem"),
    "qdrant.key_file": ("/etc/key.pem", "/etc/key.pem"),
    "qdrant.shard_number": ("6", 6),
    "qdrant.replication_factor": ("3", 3),
    "qdrant.write_consistency_factor": ("2", 2),
    "executor.max_workers": ("20", 20),
    "executor.database_limit": ("3", 3),
    "executor.qdrant_limit": ("2", 2),
    "executor.embedding_limit": ("4", 4),
    "executor.max_waiting": ("9", 9),
    "executor.shutdown_timeout": ("0.1", 0.1),
    "embedding.provider": ("openai", "openai"),
    "embedding.model": ("org/name:tag", "org/name:tag"),
    "embedding.base_url": ("http://localhost:11434/v1", "http://localhost:11434/v1"),
    "embedding.api_key": (" k ", SecretStr("k")),
    "embedding.dimension": ("256", 256),
    "embedding.path": ("/models/own", "/models/own"),
    "embedding.passage_prefix": ("passage: ", "passage: "),
    "embedding.query_prefix": (" query: ", " query: "),
    "embedding.batch_size": ("64", 64),
    "embedding.max_chars": ("8000", 8000),
    "embedding.timeout": ("5", 5.0),
    "embedding.retry_timeout": ("6", 6.0),
    "embedding.text_fields": ("title, body", ("title", "body")),
    "embedding.take_fields": ("id, address.city", ("id", "address.city")),
    "embedding.leave_fields": ('["*"]', ("*",)),
    "worker.startup_timeout": ("9", 9.0),
    "worker.shutdown_timeout": ("7", 7.0),
    "worker.concurrency": ("3", 3),
    "worker.batch_size": ("10", 10),
    "worker.lease_timeout": ("8", 8.0),
    "worker.poll_interval": ("0.2", 0.2),
    "worker.max_attempts": ("1", 1),
    "worker.retry_delay": ("0.5", 0.5),
    "worker.max_retry_delay": ("600", 600.0),
    "worker.time_limit": ("60", 60.0),
    "worker.time_limits": ('{"verify": 7200, "embed": 0.5}', {"verify": 7200.0, "embed": 0.5}),
    "worker.keep_finished": ("0", 0.0),
    "retention.history": ("0.5", 0.5),
    "worker.host": ("0.0.0.0", "0.0.0.0"),  # noqa: S104 - nothing listens without a port
    "worker.port": ("9100", 9100),
    "api.host": ("::1", "::1"),
    "api.port": ("65535", 65_535),
    "api.api_keys": (
        '["one,of-16-characters", "another-of-16-characters"]',
        (SecretStr("one,of-16-characters"), SecretStr("another-of-16-characters")),
    ),
    "api.max_body_bytes": ("1024", 1024),
    "api.max_items": ("10", 10),
    "api.max_string_chars": ("11", 11),
    "api.max_json_depth": ("12", 12),
    "container.factory": ("a.b:create", "a.b:create"),
    "logging.level": ("debug", "DEBUG"),
}

_OPENAI = ["embedding.provider", "embedding.model", "embedding.dimension"]
NEEDED = {
    "embedding.provider": ["embedding.model", "embedding.dimension"],
    "embedding.passage_prefix": _OPENAI,
    "embedding.query_prefix": _OPENAI,
    "qdrant.cert_file": ["qdrant.key_file"],
    "qdrant.key_file": ["qdrant.cert_file"],
    "qdrant.write_consistency_factor": ["qdrant.replication_factor"],
}
"""What must be set too, for a setting to be allowed."""


def test_every_setting_is_tried_as_a_variable() -> None:
    assert sorted(WRITTEN) == sorted(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_has_its_variable(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = WRITTEN[key]
    for needed in NEEDED.get(key, ()):
        monkeypatch.setenv(variable(needed), WRITTEN[needed][0])
    monkeypatch.setenv(variable(key), text)
    assert load_settings().value(key) == value


@pytest.mark.parametrize("text", ["{a},{b}", " {a} , {b} ,", '["{a}","{b}"]', ' ["{a}", "{b}"] '])
def test_a_list_is_written_with_commas_or_as_json(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = ("the-first-of-them", "the-second-of-them")
    written = text.format(a=both[0], b=both[1])
    monkeypatch.setenv("EMBEDDING_TEXT_FIELDS", written)
    monkeypatch.setenv("API_API_KEYS", written)
    settings = load_settings()
    assert settings.embedding.text_fields == both
    assert tuple(key.get_secret_value() for key in settings.api.api_keys) == both


def test_a_mapping_is_written_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_TIME_LIMITS", ' {" verify ": "5"} ')
    assert load_settings().worker.time_limits == {"verify": 5.0}
    monkeypatch.setenv("WORKER_TIME_LIMITS", "{}")
    assert load_settings().worker.time_limits == {}


# --- the object -----------------------------------------------------------------------------------


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.database.pool_size = 3
    with pytest.raises(ValidationError, match="frozen"):
        settings.database = settings.database


def test_settings_made_from_values_know_nothing_of_the_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", "11")
    (folder / ".env").write_text("DATABASE_POOL_SIZE=12\n")
    write_yaml(folder / "config.yml", {"database": {"pool_size": 13}})
    assert Settings().db_pool_size == 5


def test_a_container_can_be_filled_strictly_with_resolved_values() -> None:
    settings = Settings.model_validate(
        {"qdrant": {"url": "http://q", "api_key": SECRET}, "api": {"api_keys": [f"{SECRET} of the API"]}}
    )
    config = providers.Configuration(strict=True)
    config.from_dict(settings.for_container())
    assert config.qdrant.mode() == "server"
    assert config.qdrant.api_key() == SecretStr(SECRET)
    assert config.api.api_keys() == (SecretStr(f"{SECRET} of the API"),)
    assert config.database.pool_size() == 5


def test_a_mapping_reaches_the_container_as_it_is() -> None:
    for limits in ({}, {"verify": 5.0}):
        config = providers.Configuration(strict=True)
        config.from_dict(Settings.model_validate({"worker": {"time_limits": limits}}).for_container())
        assert config.worker.time_limits() == limits


def test_threads_that_come_first_get_the_same_settings(folder: Path) -> None:
    code = """
import threading, app.config
from concurrent.futures import ThreadPoolExecutor
start = threading.Barrier(16)
def get(_):
    start.wait()
    return id(app.config.settings)
with ThreadPoolExecutor(16) as pool:
    print(len(set(pool.map(get, range(16)))))
"""
    assert python(code, folder).stdout == "1\n"


def test_the_module_has_no_other_lazy_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'setings'"):
        app.config.setings  # type: ignore[attr-defined]  # noqa: B018 - asking is the point
