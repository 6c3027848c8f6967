"""Every setting reaches the part that it is for: a value unlike its default is found there."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from support.logs import logging_as_before
from support.parts import settings_for

from app.api.parts import ApiOptions
from app.config import Settings
from app.entrypoints.api import options_of
from app.logs import configure_logging
from app.services.embedding.embedder import TextRole
from app.settings.sources import setting_keys
from app.sql.sqlite import is_in_memory
from app.worker.policy import pause_after, time_limit_of
from containers import Container, create_container, running

Read = Callable[[Container], object]
"""What a part makes of the setting."""

SERVER = {"mode": "server", "url": "http://127.0.0.1:9"}
OPENAI = {"provider": "openai", "model": "own", "dimension": 8}


def used(key: str, given: object, read: Read, expected: object = None, **others: object) -> Any:
    """A case: the setting, its value here, who uses it, and as what if not as it is given.

    ``others`` is what the rest of its section must be for that.
    """
    section, _, name = key.partition(".")
    sections = {section: {name: given, **others}}
    return pytest.param(sections, read, given if expected is None else expected, id=key)


# --- who uses what --------------------------------------------------------------------------------


def pool(container: Container) -> Any:
    return container.engine().pool


def adapter(container: Container) -> Any:
    return container.qdrant_client()


def qdrant_connection(container: Container) -> Any:
    """A client as the adapter opens it; no server is asked."""
    return adapter(container)._clients._connect().client


def openai(container: Container) -> Any:
    return container.embedder()


def options(container: Container) -> ApiOptions:
    return options_of(Settings.model_validate(container.config()))


def in_postgres(setting: str) -> Read:
    """What the server says that the limit is, in seconds."""

    def read(container: Container) -> float:
        with container.engine().connect() as connection:
            shown = connection.execute(text(f"SELECT setting FROM pg_settings WHERE name = '{setting}'"))  # noqa: S608 - a constant
            return float(shown.scalar_one()) / 1_000

    return read


def longest_pause(failures: int) -> Read:
    """The backoff's bound after so many failures: as far as a thousand random pauses tell."""

    def read(container: Container) -> float:
        settings = container.worker()._settings
        return float(round(max(pause_after(failures, 0.0, settings) for _ in range(3_000)), 0))

    return read


def log_level(container: Container) -> str:
    with logging_as_before():
        configure_logging(container.config.logging.level())
        return logging.getLevelName(logging.getLogger("app").level)


def cluster(name: str) -> Read:
    """What the collection is made with besides its vectors."""
    return lambda container: adapter(container)._cluster[name]


def qdrant_client(attribute: str) -> Read:
    return lambda container: getattr(qdrant_connection(container)._client, attribute)


def worker(setting: str) -> Read:
    return lambda container: getattr(container.worker()._settings, setting)


CASES = [
    used("database.url", "sqlite://", lambda c: is_in_memory(c.engine().url), expected=True),
    used("database.pool_size", 13, lambda c: pool(c).size()),
    used("database.max_overflow", 11, lambda c: pool(c)._max_overflow),
    used("database.pool_timeout", 41.5, lambda c: pool(c)._timeout),
    used("database.pool_recycle", 977, lambda c: pool(c)._recycle),
    used("qdrant.mode", "memory", lambda c: type(adapter(c)).__name__, "QdrantClientAdapter"),
    used("qdrant.url", "http://127.0.0.1:1234", qdrant_client("rest_uri"), mode="server"),
    used("qdrant.collection", "staging", lambda c: c.qdrant_repository().collection),
    used("qdrant.timeout", 17, qdrant_client("_timeout"), **SERVER),
    used("qdrant.retry_timeout", 19.5, lambda c: c.qdrant_repository()._requests._retry.total_s),
    used("qdrant.prefer_grpc", True, qdrant_client("_prefer_grpc"), **SERVER),  # noqa: FBT003 - the value
    used("qdrant.grpc_port", 7_777, qdrant_client("_grpc_port"), prefer_grpc=True, **SERVER),
    used("qdrant.shard_number", 7, cluster("shard_number"), **SERVER),
    used("qdrant.replication_factor", 5, cluster("replication_factor"), **SERVER),
    used(
        "qdrant.write_consistency_factor",
        3,
        cluster("write_consistency_factor"),
        replication_factor=5,
        **SERVER,
    ),
    used("executor.max_workers", 23, lambda c: c.executor().max_workers),
    used("executor.database_limit", 6, lambda c: c.database_lane().limit),
    pytest.param(
        {"executor": {"qdrant_limit": 2}, "qdrant": SERVER},
        lambda c: c.qdrant_lane().limit,
        2,
        id="executor.qdrant_limit",
    ),
    used("executor.embedding_limit", 3, lambda c: c.embedding_lane().limit),
    used("executor.max_waiting", 29, lambda c: c.files_lane().max_waiting),
    used("executor.shutdown_timeout", 5.5, lambda c: c.executor_settings().shutdown_timeout),
    used("embedding.provider", "wordllama", lambda c: type(c.embedder()).__name__, "WordllamaEmbedder"),
    used("embedding.model", "own", lambda c: c.embedder().identity.name, "openai/own", **OPENAI),
    used("embedding.dimension", 48, lambda c: c.embedder().identity.dimension),
    used("embedding.path", "/models/own", lambda c: c.embedder()._folder.as_posix(), provider="model2vec"),
    used("embedding.passage_prefix", "passage: ", lambda c: openai(c)._prefixes[TextRole.PASSAGE], **OPENAI),
    used("embedding.query_prefix", "query: ", lambda c: openai(c)._prefixes[TextRole.QUERY], **OPENAI),
    used("embedding.base_url", "http://own/v2", lambda c: openai(c)._url, "http://own/v2/embeddings", **OPENAI),
    used("embedding.api_key", "k-3-y", lambda c: openai(c)._connections.key(), **OPENAI),
    used("embedding.batch_size", 31, lambda c: openai(c)._settings.batch_size, **OPENAI),
    used("embedding.max_chars", 8000, lambda c: c.indexing()._max_chars),
    used("embedding.timeout", 37.5, lambda c: openai(c)._settings.timeout, **OPENAI),
    used("embedding.retry_timeout", 43.5, lambda c: openai(c)._retry.total_s, **OPENAI),
    used("embedding.text_fields", ("own",), lambda c: c.indexing()._text_rules.fields),
    used("embedding.take_fields", ("a.b",), lambda c: c.reindexing()._text_rules.take),
    used("embedding.leave_fields", ("own",), lambda c: c.meaning_search()._text_rules.leave),
    used("worker.concurrency", 9, worker("concurrency")),
    used("worker.batch_size", 47, lambda c: c.indexing()._batch_size),
    used("worker.lease_timeout", 53.5, worker("lease_timeout")),
    used("worker.poll_interval", 2.5, worker("poll_interval")),
    used("worker.max_attempts", 8, worker("max_attempts")),
    used("worker.retry_delay", 100.0, longest_pause(1)),
    used("worker.max_retry_delay", 60.0, longest_pause(20)),
    used("worker.time_limit", 61.5, lambda c: time_limit_of("x", c.worker()._settings)),
    used("worker.time_limits", {"embed": 67.5}, lambda c: time_limit_of("embed", c.worker()._settings), 67.5),
    used("worker.shutdown_timeout", 71.5, worker("shutdown_timeout")),
    used("worker.keep_finished", 73.5, worker("keep_finished")),
    used("retention.history", 2.5, lambda c: c.worker()._keep_history_s, 216_000.0),
    used("api.host", "localhost", lambda c: options(c).host),
    used("api.root_path", "/storage", lambda c: options(c).root_path),
    used("api.cors_origins", ("https://a.example",), lambda c: options(c).cors_origins),
    used("api.api_keys", ("a-key-of-24-characters-or-so",), lambda c: options(c).api_keys),
    used("api.max_body_bytes", 79_000, lambda c: options(c).max_body_bytes),
    used("api.max_items", 83, lambda c: options(c).max_items),
    used("api.max_string_chars", 89, lambda c: options(c).item_limits.max_string_chars),
    used("api.max_json_depth", 12, lambda c: options(c).item_limits.max_depth),
    used("container.factory", "tests.none:create", lambda c: c.settings().container.factory),
    used("logging.level", "ERROR", log_level),
]

ON_POSTGRES = {
    "database.statement_timeout": (101.5, in_postgres("statement_timeout")),
    "database.idle_in_transaction_timeout": (103.5, in_postgres("idle_in_transaction_session_timeout")),
}

ELSEWHERE = {
    "database.data_indexes": "tests of `db upgrade`",
    "database.prepared_statements": "tests of pgbouncer",
    "qdrant.path": "tests of the embedded engine",
    "qdrant.api_key": "tests of retries, which look at what is sent",
    "qdrant.ca_file": "tests of TLS",
    "qdrant.cert_file": "tests of TLS",
    "qdrant.key_file": "tests of TLS",
    "worker.startup_timeout": "tests of starting",
    "worker.host": "tests of worker processes",
    "worker.port": "tests of worker processes",
    "api.keep_alive": "tests of proxies",
    "api.port": "tests of commands",
}
"""Those whose effect is outside of the container, and seen there."""


def test_no_setting_is_forgotten() -> None:
    tried = {str(case.id) for case in CASES} | ON_POSTGRES.keys() | ELSEWHERE.keys()
    assert tried == set(setting_keys(Settings))


@pytest.mark.parametrize(("sections", "read", "expected"), CASES)
def test_a_setting_reaches_its_part(
    tmp_path: Path, sections: dict[str, dict[str, object]], read: Read, expected: object
) -> None:
    with running(create_container(settings_with(tmp_path, sections))) as container:
        assert read(container) == expected


def settings_with(folder: Path, sections: dict[str, dict[str, object]]) -> Settings:
    """The usual settings overridden by ``sections``; derived values are derived again."""
    base = settings_for(folder).model_dump()
    base["embedding"]["dimension"] = None
    return Settings.model_validate(
        {**base, **{name: {**base[name], **values} for name, values in sections.items()}}
    )


@pytest.mark.parametrize("key", ON_POSTGRES)
def test_a_setting_reaches_postgresql(tmp_path: Path, postgres_url: str, key: str) -> None:
    value, read = ON_POSTGRES[key]
    database = {
        "url": make_url(postgres_url).render_as_string(hide_password=False),
        key.partition(".")[2]: value,
    }
    with running(create_container(settings_for(tmp_path, database=database))) as container:
        assert read(container) == value


WAITS = {
    "database_lane": ("database", "pool_timeout"),
    "qdrant_lane": ("qdrant", "retry_timeout"),
    "embedding_lane": ("embedding", "retry_timeout"),
    "files_lane": ("database", "pool_timeout"),
}


@pytest.mark.parametrize("lane", WAITS)
def test_a_lane_waits_as_long_as_its_section_says(tmp_path: Path, lane: str) -> None:
    section, name = WAITS[lane]
    with running(create_container(settings_with(tmp_path, {section: {name: 107.5}}))) as container:
        assert getattr(container, lane)().wait_timeout_s == 107.5
