import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from support.settings import (
    KEYS,
    SECRET,
    SECRETS,
    SECTIONS,
    description,
    enter_empty_place,
    keys_of,
    problems_of,
    variable,
    write_yaml,
)

from app.config import Settings, load_settings, read_settings
from app.errors import ConfigurationError
from app.settings.checks import CHECKS
from app.settings.sections import DatabaseSettings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and an environment without settings."""
    return enter_empty_place(tmp_path, monkeypatch)


# --- values ---------------------------------------------------------------------------------------

WHOLE = [key for key in KEYS if "whole number" in str(description(key))]
SECONDS = [key for key in KEYS if "number of seconds, more" in str(description(key))]
OTHER = [
    "api.api_keys",
    "api.cors_origins",
    "database.data_indexes",
    "embedding.text_fields",
    "embedding.take_fields",
    "embedding.leave_fields",
    "worker.time_limits",
    "worker.keep_finished",
    "retention.history",
]
SWITCHES = [key for key in KEYS if str(description(key)).startswith("true or false")]
TEXT = [key for key in KEYS if key not in {*WHOLE, *SECONDS, *SWITCHES, *OTHER}]
WRONG: list[tuple[str, object]] = [
    *itertools.product(WHOLE, [True, "abc", -1, 1.5, "1.5", [], {}]),
    *itertools.product(
        SECONDS, [True, "abc", 0, -1, float("nan"), float("inf"), 86_401, "nan", "inf", "1e999", [], None]
    ),
    *itertools.product(SWITCHES, ["abc", 5, 1.5, "", [], {}]),
    *itertools.product([key for key in SWITCHES if description(key) == "true or false"], [None]),
    *itertools.product(TEXT, [True, 5, "", " ", [], {"a": 1}]),
    *itertools.product(["qdrant.mode", "embedding.provider", "logging.level"], ["other"]),
    *itertools.product(["api.port"], [0, 65_536, None]),
    *itertools.product(["worker.port"], [0, 65_536]),
    *itertools.product(["database.pool_size", "executor.max_workers", "worker.max_attempts"], [0, None]),
    *itertools.product(["executor.max_workers"], [1, 3]),
    *itertools.product(["api.root_path"], ["storage", "/storage/", "//a", "/a b", "/a?b"]),
    *itertools.product(
        ["api.cors_origins"], [["*"], ["app.example"], ["https://a/b"], [""], 5, {"a": 1}, None]
    ),
    *itertools.product(["database.data_indexes"], [[""], [1], 5, {"a": 1}, "[a", None, ["a"] * 21]),
    *itertools.product(["embedding.text_fields"], [[], [""], [1], 5, {"a": 1}, "[a", "[" * 5000, "[1]", None]),
    *itertools.product(
        ["embedding.take_fields", "embedding.leave_fields"],
        [[""], [" "], [1], 5, {"a": 1}, "[a", ["a."], [".a"], ["a..b"], None],
    ),
    *itertools.product(["api.api_keys"], [[""], [" "], [1], 5, {"a": 1}, "[a", '[""]', None]),
    *itertools.product(
        ["api.api_keys"],
        [
            "short",
            '""',
            "null",
            ["null"],
            ["fifteen-letters"],
            ['"a-key-in-quotes"'],
            "'a-key-in-quotes'",
            ["  fifteen-letters  "],
        ],
    ),
    *itertools.product(
        ["worker.keep_finished", "retention.history"],
        [True, "abc", -1, float("nan"), float("inf"), 10 * 366 * 86_400, "nan", [], {}, None],
    ),
    *itertools.product(["worker.time_limits"], [True, 5, "abc", "", "[1]", "5", "null", "[" * 5000, [], None]),
    *itertools.product(
        ["worker.time_limits"],
        [
            {"a": True},
            {"a": "abc"},
            {"a": 0},
            {"a": -1},
            {"a": float("nan")},
            {"a": 86_401},
            {"a": {}},
            {"a": None},
        ],
    ),
    *itertools.product(["worker.time_limits"], [{"": 1}, {" ": 1}, {5: 1}, '{"a": 0}', '{"a": true}']),
]


def test_every_setting_is_tried_with_wrong_values() -> None:
    assert {key for key, _ in WRONG} == set(KEYS)


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda part: str(part)[:30])
def test_a_wrong_value_is_refused_in_words(key: str, value: object, folder: Path) -> None:
    section, _, name = key.partition(".")
    (problem,) = problems_of({section: {name: value}}, folder)
    assert (problem.key, problem.allowed) == (key, f"must be {description(key)}")
    assert problem.value.endswith("given.yml)")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("database.pool_size", "10"),
        ("database.pool_size", 10.0),
        ("api.port", " 80 "),
        ("worker.lease_timeout", 1),
    ],
)
def test_a_number_may_be_written_in_other_ways(key: str, value: object, folder: Path) -> None:
    section, _, name = key.partition(".")
    settings = load_settings(write_yaml(folder / "given.yml", {section: {name: value}}))
    assert settings.value(key) == float(str(value))


def test_every_problem_is_told_at_once_with_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_MAX_OVERFLOW", "-1")
    monkeypatch.setenv("API_HOST", "0.0.0.0")  # noqa: S104 - refused
    (folder / ".env").write_text("DATABASE_POOL_TIMEOUT=soon\n")
    write_yaml(folder / "config.yml", {"database": {"pool_size": 0, "size": 1}, "qdrant": {"mode": "server"}})
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert {problem.key: problem.value for problem in caught.value.problems} == {
        "database.size": "1 (config.yml)",
        "database.pool_size": "0 (config.yml)",
        "database.max_overflow": "-1 (environment DB_MAX_OVERFLOW)",
        "database.pool_timeout": "soon (.env DATABASE_POOL_TIMEOUT)",
        "qdrant.mode": "server (config.yml)",
        "api.host": "0.0.0.0 (environment API_HOST)",
    }
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)


@pytest.mark.slow
@hypothesis_settings(deadline=None)
@given(st.dictionaries(st.sampled_from([variable(key) for key in KEYS]), st.text(max_size=8)))
def test_any_text_in_variables_gives_settings_or_problems_in_words(variables: dict[str, str]) -> None:
    clean = {name: value for name, value in variables.items() if "\0" not in value and value.isascii()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in clean.items():
            patch.setenv(name, value)
        reading = read_settings()
    assert (reading.settings is None) == bool(reading.problems)
    assert {problem.key for problem in reading.problems} <= set(KEYS)
    assert len(reading.entries) == len(KEYS)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@hypothesis_settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.sampled_from([*SECTIONS, "other"]),
        JSON_LIKE
        | st.dictionaries(
            st.sampled_from([name for kind in SECTIONS.values() for name in kind.model_fields]),
            JSON_LIKE,
            max_size=4,
        ),
    )
)
def test_any_yaml_gives_settings_or_problems_in_words(
    tmp_path_factory: pytest.TempPathFactory, document: Any
) -> None:
    file = write_yaml(tmp_path_factory.getbasetemp() / "any.yml", document)
    reading = read_settings(file)
    assert (reading.settings is None) == bool(reading.problems)
    assert json.dumps([entry.value for entry in reading.entries])


# --- rules between settings -----------------------------------------------------------------------

BROKEN: list[tuple[dict[str, dict[str, object]], str, str]] = [
    ({"database": {"url": "data.db"}}, "database.url", "must be a URL: sqlite:///FILE"),
    ({"database": {"url": "mysql://me@db/x"}}, "database.url", "must be one of postgresql, sqlite; the dialect 'mysql'"),
    ({"database": {"url": "postgres://db/x"}}, "database.url", "must be one of postgresql, sqlite; the dialect 'postgres'"),
    ({"database": {"url": "oracle+oracledb://db/x"}}, "database.url", "must be one of postgresql, sqlite; the dialect 'oracle'"),
    ({"database": {"url": "://"}}, "database.url", "must be one of postgresql, sqlite; the dialect ''"),
    ({"database": {"url": "postgresql+asyncpg://db/x"}}, "database.url", "must be written postgresql://…; the driver 'asyncpg'"),
    ({"database": {"url": "sqlite+aiosqlite:///x"}}, "database.url", "must be written sqlite://…; the driver 'aiosqlite'"),
    ({"database": {"url": "sqlite://data/x.db"}}, "database.url", "must have three slashes"),
    ({"database": {"url": "postgresql://me@db:port/x"}}, "database.url", "must be postgresql://USER:PASSWORD@HOST:PORT/NAME"),
    ({"qdrant": {"mode": "server"}}, "qdrant.mode", "needs qdrant.url"),
    ({"qdrant": {"mode": "embedded", "collection": "lock"}}, "qdrant.collection", "must be another name"),
    ({"qdrant": {"url": "localhost:6333"}}, "qdrant.url", "must be a URL with http or https and a host"),
    ({"qdrant": {"url": "grpc://localhost:6334"}}, "qdrant.url", "must be a URL with http or https and a host"),
    ({"qdrant": {"url": "http://"}}, "qdrant.url", "must be a URL with http or https and a host"),
    ({"qdrant": {"url": "http://q:66666"}}, "qdrant.url", "must be a URL with http or https and a host"),
    ({"qdrant": {"url": "http://q:x"}}, "qdrant.url", "must be a URL with http or https and a host"),
    ({"qdrant": {"url": "http://[::1"}}, "qdrant.url", "must be a URL with http or https and a host"),
    ({"qdrant": {"cert_file": "c.pem"}}, "qdrant.cert_file", "needs qdrant.key_file"),
    ({"qdrant": {"key_file": "k.pem"}}, "qdrant.key_file", "needs qdrant.cert_file"),
    ({"qdrant": {"url": "http://q", "ca_file": "ca.pem"}}, "qdrant.url", "must begin with https"),
    ({"qdrant": {"url": "http://q", "cert_file": "c.pem", "key_file": "k.pem"}}, "qdrant.url", "must begin with https"),
    ({"qdrant": {"url": "http://q/prefix", "prefer_grpc": True}}, "qdrant.url", "must have no path"),
    ({"qdrant": {"write_consistency_factor": 2}}, "qdrant.write_consistency_factor", "must be at most 1 (qdrant.replication_factor)"),
    ({"embedding": {"base_url": "api.openai.com"}}, "embedding.base_url", "must be a URL with http or https and a host"),
    ({"embedding": {"dimension": 64}}, "embedding.dimension", "must be 256 or null"),
    ({"embedding": {"provider": "multilingual", "dimension": 256}}, "embedding.dimension", "must be 384 or null"),
    ({"embedding": {"provider": "model2vec"}}, "embedding.path", "must be the folder that holds the model"),
    ({"embedding": {"passage_prefix": "passage: "}}, "embedding.passage_prefix", "must be null unless embedding.provider is openai"),
    ({"embedding": {"provider": "multilingual", "query_prefix": "query: "}}, "embedding.query_prefix", "must be null unless"),
    ({"embedding": {"provider": "openai", "dimension": 3}}, "embedding.model", "must name the endpoint's model"),
    ({"embedding": {"provider": "openai", "model": "m"}}, "embedding.dimension", "must be the model's dimension"),
    ({"embedding": {"take_fields": ["*"]}}, "embedding.take_fields", "must not have '*'"),
    ({"embedding": {"take_fields": ["a", "b.c"], "leave_fields": ["b.c"]}}, "embedding.take_fields", "has 'b.c', and so has embedding.leave_fields"),
    ({"api": {"host": "0.0.0.0"}}, "api.host", "can be reached from other machines"),  # noqa: S104
    ({"api": {"host": "::"}}, "api.host", "can be reached from other machines"),
    ({"api": {"host": "storage.example"}}, "api.host", "can be reached from other machines"),
    ({"worker": {"host": "0.0.0.0", "port": 9100}}, "worker.host", "can be reached from other machines"),  # noqa: S104 - tested
    ({"worker": {"retry_delay": 301}}, "worker.max_retry_delay", "must be at least 301 (worker.retry_delay)"),
    ({"worker": {"max_retry_delay": 0.5}}, "worker.max_retry_delay", "must be at least 1 (worker.retry_delay)"),
    ({"executor": {"embedding_limit": 8}}, "executor.max_workers", "gives 16 threads and the lanes want 18 (database 8, qdrant 1, embedding 8, files 1)"),
    ({"executor": {"max_workers": 32}}, "executor.max_workers", "gives the database lane 16 threads, and it may have at most 15 (database.pool_size 5 + database.max_overflow 10)"),
    ({"executor": {"max_workers": 40, "database_limit": 16}}, "executor.database_limit", "must be at most 15 (database.pool_size 5 + database.max_overflow 10)"),
    ({"database": {"pool_size": 1, "max_overflow": 0}}, "executor.max_workers", "gives the database lane 8 threads, and it may have at most 1"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "key", "said"), BROKEN)
def test_settings_that_contradict_each_other_are_refused(
    values: dict[str, dict[str, object]], key: str, said: str, folder: Path
) -> None:
    (problem,) = problems_of(values, folder)
    assert problem.key == key
    assert problem.allowed.startswith(said)


def test_settings_made_from_values_are_held_to_the_same_rules() -> None:
    for values, key, said in BROKEN:
        with pytest.raises(ConfigurationError) as caught:
            Settings.model_validate(values)
        assert [(problem.key, problem.allowed.startswith(said)) for problem in caught.value.problems] == [
            (key, True)
        ]


def test_every_rule_is_broken_by_one_of_these() -> None:
    broken = set()
    for values, _, _ in BROKEN:
        sections: dict[str, Any] = {
            name: kind.model_validate(values.get(name, {})) for name, kind in SECTIONS.items()
        }
        settings = Settings.model_construct(**sections)
        broken |= {check.find for check in CHECKS if check.find(settings)}
    assert broken == {check.find for check in CHECKS}


@pytest.mark.parametrize(
    "values",
    [
        {"database": {"url": "sqlite://", "pool_size": 1, "max_overflow": 0}},
        {"database": {"url": "sqlite:////srv/a.db"}},
        {"database": {"url": "postgresql:///x?host=/run/postgresql"}},
        {"database": {"pool_size": 8, "max_overflow": 0}},
        {"qdrant": {"mode": "server", "url": "http://[::1]:6333"}},
        {"qdrant": {"mode": "memory", "url": "http://q"}},
        {"embedding": {"provider": "openai", "model": "m", "dimension": 3}},
        {"embedding": {"provider": "deterministic", "dimension": 4}},
        {"embedding": {"provider": "multilingual", "dimension": 384}},
        {"embedding": {"provider": "model2vec", "path": "models/own", "dimension": 64}},
        {"embedding": {"provider": "openai", "model": "m", "dimension": 3, "query_prefix": "query: "}},
        {"api": {"host": "0.0.0.0", "api_keys": ["a-key-of-16-chars"]}},  # noqa: S104 - tested
        {"api": {"host": "localhost"}},
        {"worker": {"host": "0.0.0.0"}},  # noqa: S104 - tested
        {"worker": {"host": "127.0.0.1", "port": 9100}},
        {"worker": {"host": "0.0.0.0", "port": 9100}, "api": {"api_keys": ["a-key-of-16-chars"]}},  # noqa: S104 - tested
        {"worker": {"retry_delay": 5, "max_retry_delay": 5}},
        {"worker": {"time_limits": {"verify": 7200}}},
        {"api": {"host": "127.9.9.9"}},
        {"embedding": {"take_fields": ["address.city", "id"], "leave_fields": ["*", "address"]}},
    ],
)
def test_settings_that_agree_are_accepted(values: dict[str, object], folder: Path) -> None:
    assert load_settings(write_yaml(folder / "given.yml", values)) == Settings.model_validate(values)


def test_a_rule_is_silent_about_values_that_are_refused_anyway(folder: Path) -> None:
    assert keys_of(problems_of({"database": {"pool_size": "x", "max_overflow": 0}}, folder)) == [
        "database.pool_size"
    ]
    assert keys_of(problems_of({"qdrant": {"mode": "server", "url": 5}}, folder)) == ["qdrant.url"]


@pytest.mark.parametrize(
    ("values", "mode"),
    [({}, "embedded"), ({"url": "http://q"}, "server"), ({"url": "http://q", "mode": "embedded"}, "embedded")],
)
def test_the_mode_follows_the_url_unless_it_is_set(values: dict[str, str], mode: str) -> None:
    assert Settings.model_validate({"qdrant": values}).qdrant.mode == mode


@pytest.mark.parametrize(
    ("provider", "dimension"), [("wordllama", 256), ("multilingual", 384), ("deterministic", 32)]
)
def test_the_dimension_follows_the_provider(provider: str, dimension: int) -> None:
    assert Settings.model_validate({"embedding": {"provider": provider}}).embedding.dimension == dimension


# --- lanes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ({}, (8, 1, 2, 1)),
        ({"qdrant": {"url": "http://q"}}, (8, 5, 2, 1)),
        ({"qdrant": {"mode": "memory"}, "executor": {"qdrant_limit": 5}}, (8, 1, 2, 1)),
        ({"database": {"url": "sqlite://"}, "executor": {"database_limit": 5}}, (1, 1, 2, 1)),
        ({"qdrant": {"url": "http://q"}, "executor": {"max_workers": 4}}, (1, 1, 1, 1)),
        (
            {"qdrant": {"url": "http://q"}, "executor": {"database_limit": 2, "embedding_limit": 1}},
            (2, 12, 1, 1),
        ),
        ({"qdrant": {"url": "http://q"}, "executor": {"qdrant_limit": 3}}, (8, 3, 2, 1)),
    ],
)
def test_lanes_get_their_limits(values: dict[str, object], limits: tuple[int, ...]) -> None:
    lanes = Settings.model_validate(values).lane_limits()
    assert lanes == dict(zip(("database", "qdrant", "embedding", "files"), limits, strict=True))


@hypothesis_settings(deadline=None)
@given(st.integers(4, 500), st.sampled_from(["embedded", "server", "memory"]), st.booleans())
def test_shares_fit_the_threads_and_use_them_all_with_a_server(
    workers: int, mode: str, in_memory: bool
) -> None:
    settings = Settings.model_validate(
        {
            "database": {"url": "sqlite://" if in_memory else "sqlite:///a.db", "pool_size": 250},
            "qdrant": {"mode": mode, "url": "http://q"},
            "executor": {"max_workers": workers},
        }
    )
    limits = settings.lane_limits()
    assert min(limits.values()) >= 1
    assert sum(limits.values()) == workers if mode == "server" else sum(limits.values()) <= workers


@pytest.mark.parametrize(
    ("url", "in_memory"),
    [
        ("sqlite://", True),
        ("sqlite:///", True),
        ("sqlite:///:memory:", True),
        ("sqlite:///file:shared?mode=memory&cache=shared&uri=true", True),
        ("sqlite:///a.db", False),
        ("sqlite:////:memory:", False),
        ("sqlite:///a.db?timeout=3", False),
        ("sqlite:///a.db?access_mode=memory_mapped", False),
        ("postgresql://db/x?application_name=memory", False),
    ],
)
def test_knows_a_database_in_memory(url: str, in_memory: bool) -> None:
    assert Settings.model_validate({"database": {"url": url}}).database.in_memory is in_memory


# --- secrets --------------------------------------------------------------------------------------


def test_settings_can_be_printed_without_their_secrets() -> None:
    settings = Settings.model_validate(SECRETS)
    shown = [repr(settings), str(settings), f"{settings.qdrant!r} {settings.database}", repr([settings])]
    assert [text for text in shown if SECRET in text] == []
    assert "postgresql+psycopg://me:********@db/x" in repr(settings)


def test_secrets_are_there_for_who_uses_them() -> None:
    settings = Settings.model_validate(SECRETS)
    assert settings.database_url == f"postgresql+psycopg://me:{SECRET}@db/x?sslpassword={SECRET}"
    assert settings.qdrant.api_key == SecretStr(SECRET)


def test_entries_hide_secrets(folder: Path) -> None:
    reading = read_settings(write_yaml(folder / "given.yml", SECRETS))
    assert reading.settings
    assert SECRET not in repr(reading)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("database.url", f"mysql://me:{SECRET}@db/x"),
        ("database.url", f"me:{SECRET}@db/x"),
        ("database.url", [f"postgresql://me:{SECRET}@db/x"]),
        ("database.url", {"password": SECRET}),
        ("qdrant.url", f"{SECRET}@cloud"),
        ("qdrant.api_key", [SECRET]),
        ("qdrant.api_key", {"key": SECRET}),
        ("api.api_keys", {"key": SECRET}),
        ("api.api_keys", f"[{SECRET}"),
        ("api.api_keys", [SECRET, ""]),
        ("api.api_keys", [[SECRET]]),
    ],
)
def test_a_refused_secret_is_not_told(key: str, value: object, folder: Path) -> None:
    section, _, name = key.partition(".")
    reading = read_settings(write_yaml(folder / "given.yml", {section: {name: value}}))
    assert keys_of(list(reading.problems)) == [key]
    assert SECRET not in repr(reading)


@pytest.mark.parametrize("values", [{"database": {"url": [SECRET]}}, {"qdrant": {"apikey": SECRET}}])
def test_pydantic_does_not_tell_secrets_either(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(values)
    assert SECRET not in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        DatabaseSettings.model_validate({"url": [SECRET]})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("postgres://u:p@h/n", "write postgresql:// in place of postgres://"),
        ("postgresql://u:p@h/n?pgbouncer=true", "set database.prepared_statements to false"),
        ("postgresql://u:p@h/n?schema=public", "?options=-csearch_path%3DNAME"),
        ("postgresql://u:p@h/n?sslmode=require&connection_limit=5", "set database.pool_size"),
        ("postgresql://u:p@h/n?sslmod=require", "the nearest is sslmode"),
        ("postgresql://u:p@h1:5432,h2:5432/n", "?host=HOST1:PORT&host=HOST2:PORT"),
    ],
)
def test_urls_as_other_programs_write_them_are_told_how_to_write(url: str, way: str, folder: Path) -> None:
    [problem] = problems_of({"database": {"url": url}}, folder)
    assert problem.key == "database.url"
    assert way in problem.allowed
    assert ":p@" not in str(problem)


@pytest.mark.parametrize(
    "parameters",
    ["sslmode=require&application_name=a", "host=h1:5432&host=h2:5432&target_session_attrs=read-write"],
)
def test_what_the_driver_knows_is_taken(parameters: str, folder: Path) -> None:
    load_settings(write_yaml(folder / "config.yml", {"database": {"url": f"postgresql://u@h/n?{parameters}"}}))
