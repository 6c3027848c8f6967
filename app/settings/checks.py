"""Checks of settings beyond each field's own type and range."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.errors import Problem
from app.settings.masking import as_text, masked
from app.settings.unchecked import UncheckedSettings

DIALECTS = ("postgresql", "sqlite")
_SCHEMES = ("postgresql+psycopg", "sqlite", "sqlite+pysqlite")
_SEVERAL_HOSTS = (
    "must name several hosts as postgresql://USER:PASSWORD@/NAME?host=HOST1:PORT&host=HOST2:PORT; "
    "&target_session_attrs=read-write selects the one that takes writes"
)
_OF_SCHEMA = "a schema is written ?options=-csearch_path%3DNAME"
_OF_POOL = "set database.pool_size and database.pool_timeout"
_OTHER_WAYS = {
    "pgbouncer": "for a pooler in transaction mode set database.prepared_statements to false",
    "schema": _OF_SCHEMA,
    "currentschema": _OF_SCHEMA,
    "search_path": _OF_SCHEMA,
    "connection_limit": _OF_POOL,
    "pool_size": _OF_POOL,
    "pool_timeout": _OF_POOL,
    "ssl": "write ?sslmode=require",
}
"""Parameters of other programs' URLs, and their equivalents here."""

_ALL_FIELDS = "*"
_OWN_DIMENSIONS = {"wordllama": 256, "multilingual": 384}


@dataclass(frozen=True, slots=True)
class Check:
    """One rule over ``keys``, reported for the first. ``find`` returns what is wrong, or None."""

    keys: tuple[str, ...]
    find: Callable[[UncheckedSettings], str | None]


def contradictions(settings: UncheckedSettings, unknown: Collection[str] = ()) -> list[Problem]:
    """Return a problem for each broken rule, skipping rules on keys in ``unknown``."""
    asked = [check for check in CHECKS if not set(check.keys) & set(unknown)]
    return [
        Problem(check.keys[0], as_text(masked(settings.value(check.keys[0]))), allowed)
        for check in asked
        if (allowed := check.find(settings))
    ]


# --- URLs -----------------------------------------------------------------------------------------


def _database_url(settings: UncheckedSettings) -> str | None:
    scheme, separator, location = settings.database.url.partition("://")
    dialect, _, driver = scheme.partition("+")
    if not separator:
        return "must be a URL: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    if dialect not in DIALECTS:
        old = "; write postgresql:// in place of postgres://" if dialect == "postgres" else ""
        return f"must be one of {', '.join(DIALECTS)}; the dialect {dialect!r} is not supported{old}"
    if scheme not in _SCHEMES:
        return f"must be written {dialect}://…; the driver {driver!r} is not supported"
    if dialect == "postgresql":
        return _postgres_url(settings.database.url)
    if location and not location.startswith("/"):
        return "must have three slashes before a relative path and four before an absolute one: sqlite:///FILE"
    return None


def _postgres_url(url: str) -> str | None:
    from sqlalchemy import make_url  # noqa: PLC0415 - the import takes 0.5 s, which SQLite doesn't need
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - likewise

    try:
        parameters = make_url(url).query
    except (ArgumentError, ValueError):
        if "," in urlsplit(url.partition("?")[0]).netloc.rpartition("@")[2]:
            return _SEVERAL_HOSTS
        return "must be postgresql://USER:PASSWORD@HOST:PORT/NAME, with special characters percent-encoded"
    return _postgres_parameters(parameters)


def _postgres_parameters(parameters: Collection[str]) -> str | None:
    """Return what is wrong with the names of a URL's parameters, or None."""
    if not parameters:
        return None
    from psycopg import pq  # noqa: PLC0415 - slow to import

    known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    for name in parameters:
        if name not in known:
            way = _OTHER_WAYS.get(name.lower(), f"the nearest is {get_close_matches(name, known, 1, 0.0)[0]}")
            return f"must not have ?{name}=, which PostgreSQL's driver doesn't know: {way}"
    return None


def _http_url(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        # `parts.port` raises ValueError if the port is invalid.
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    return None if usable else "must be a URL with http or https and a host, such as http://localhost:6333"


# --- sections -------------------------------------------------------------------------------------


def _server_has_url(settings: UncheckedSettings) -> str | None:
    if settings.qdrant.mode == "server" and settings.qdrant.url is None:
        return "needs qdrant.url, such as http://localhost:6333"
    return None


def _collection_is_not_the_lock_file(settings: UncheckedSettings) -> str | None:
    if settings.qdrant.mode == "embedded" and settings.qdrant.collection == "lock":
        return "must be another name, because the embedded engine's directory has a file with this name"
    return None


def _certificate_has_key(settings: UncheckedSettings) -> str | None:
    if settings.qdrant.cert_file is not None and settings.qdrant.key_file is None:
        return "needs qdrant.key_file, the key of that certificate"
    return None


def _key_has_certificate(settings: UncheckedSettings) -> str | None:
    if settings.qdrant.key_file is not None and settings.qdrant.cert_file is None:
        return "needs qdrant.cert_file, the certificate of that key"
    return None


def _server_speaks_tls(settings: UncheckedSettings) -> str | None:
    qdrant = settings.qdrant
    files = (qdrant.ca_file, qdrant.cert_file, qdrant.key_file)
    if qdrant.mode == "server" and any(files) and (qdrant.url or "").lower().startswith("http://"):
        return "must begin with https, or qdrant.ca_file, qdrant.cert_file and qdrant.key_file must be null"
    return None


def _grpc_has_no_path(settings: UncheckedSettings) -> str | None:
    qdrant = settings.qdrant
    path = (qdrant.url or "").partition("://")[2].partition("/")[2]
    if qdrant.mode == "server" and qdrant.prefer_grpc and path.strip("/"):
        return "must have no path, because gRPC has none; leave it out or set qdrant.prefer_grpc to false"
    return None


def _copies_can_acknowledge(settings: UncheckedSettings) -> str | None:
    copies, acknowledging = settings.qdrant.replication_factor, settings.qdrant.write_consistency_factor
    if acknowledging is not None and acknowledging > (copies or 1):
        return f"must be at most {copies or 1} (qdrant.replication_factor); lower it or raise that one"
    return None


def _openai_has_model(settings: UncheckedSettings) -> str | None:
    if settings.embedding.provider == "openai" and settings.embedding.model is None:
        return "must name the endpoint's model when embedding.provider is openai"
    return None


def _dimension_fits_provider(settings: UncheckedSettings) -> str | None:
    embedding = settings.embedding
    if embedding.provider == "openai" and embedding.dimension is None:
        return "must be the model's dimension when embedding.provider is openai"
    own = _OWN_DIMENSIONS.get(embedding.provider)
    if own is not None and embedding.dimension != own:
        return f"must be {own} or null when embedding.provider is {embedding.provider}"
    return None


def _fields_are_taken_or_left(settings: UncheckedSettings) -> str | None:
    embedding = settings.embedding
    if _ALL_FIELDS in embedding.take_fields:
        return f"must not have {_ALL_FIELDS!r}, which is only for embedding.leave_fields"
    if both := set(embedding.take_fields) & set(embedding.leave_fields):
        return f"has {min(both)!r}, and so has embedding.leave_fields; remove it from one of the two"
    return None


def _model2vec_has_path(settings: UncheckedSettings) -> str | None:
    if settings.embedding.provider == "model2vec" and settings.embedding.path is None:
        return "must be the folder that holds the model when embedding.provider is model2vec"
    return None


def _prefixes_are_used(settings: UncheckedSettings, prefix: str | None) -> str | None:
    if prefix is None or settings.embedding.provider == "openai":
        return None
    return "must be null unless embedding.provider is openai; the other providers have their own prefixes"


def _remote_bind_has_key(settings: UncheckedSettings) -> str | None:
    if settings.api.api_keys or _is_loopback(settings.api.host):
        return None
    return "can be reached from other machines, so api.api_keys needs a key; or use 127.0.0.1"


def _remote_worker_has_key(settings: UncheckedSettings) -> str | None:
    if settings.worker.port is None or settings.api.api_keys or _is_loopback(settings.worker.host):
        return None
    return "can be reached from other machines, so api.api_keys needs a key; or use 127.0.0.1"


def _longest_pause_holds_first(settings: UncheckedSettings) -> str | None:
    first = settings.worker.retry_delay
    if settings.worker.max_retry_delay < first:
        return f"must be at least {first:g} (worker.retry_delay); raise it or lower that one"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- lanes ----------------------------------------------------------------------------------------


def _lanes_fit_threads(settings: UncheckedSettings) -> str | None:
    limits, threads = settings.lane_limits(), settings.executor.max_workers
    wanted = sum(limits.values())
    if wanted <= threads:
        return None
    parts = ", ".join(f"{lane} {limit}" for lane, limit in limits.items())
    return (
        f"gives {threads} threads and the lanes want {wanted} ({parts}); raise executor.max_workers, or lower "
        "executor.database_limit, executor.qdrant_limit or executor.embedding_limit"
    )


def _database_limit_fits_pool(settings: UncheckedSettings) -> str | None:
    if settings.executor.database_limit is None or _pool_serves_lane(settings):
        return None
    return f"must be at most {_pool(settings)}; lower it or raise one of these two"


def _database_share_fits_pool(settings: UncheckedSettings) -> str | None:
    if settings.executor.database_limit is not None or _pool_serves_lane(settings):
        return None
    share = settings.lane_limits()["database"]
    return (
        f"gives the database lane {share} threads, and it may have at most {_pool(settings)}; raise one of "
        "these two, lower executor.max_workers, or set executor.database_limit"
    )


def _pool_serves_lane(settings: UncheckedSettings) -> bool:
    database = settings.database
    return settings.lane_limits()["database"] <= database.pool_size + database.max_overflow


def _pool(settings: UncheckedSettings) -> str:
    size, overflow = settings.database.pool_size, settings.database.max_overflow
    return f"{size + overflow} (database.pool_size {size} + database.max_overflow {overflow})"


_LANES = ("executor.max_workers", "executor.database_limit", "database.url")
_POOL = ("database.pool_size", "database.max_overflow")

CHECKS = (
    Check(("database.url",), _database_url),
    Check(("qdrant.url",), lambda settings: _http_url(settings.qdrant.url)),
    Check(("qdrant.mode", "qdrant.url"), _server_has_url),
    Check(("qdrant.collection", "qdrant.mode", "qdrant.url"), _collection_is_not_the_lock_file),
    Check(("qdrant.cert_file", "qdrant.key_file"), _certificate_has_key),
    Check(("qdrant.key_file", "qdrant.cert_file"), _key_has_certificate),
    Check(
        ("qdrant.url", "qdrant.mode", "qdrant.ca_file", "qdrant.cert_file", "qdrant.key_file"),
        _server_speaks_tls,
    ),
    Check(("qdrant.url", "qdrant.mode", "qdrant.prefer_grpc"), _grpc_has_no_path),
    Check(("qdrant.write_consistency_factor", "qdrant.replication_factor"), _copies_can_acknowledge),
    Check(
        (*_LANES, "executor.qdrant_limit", "executor.embedding_limit", "qdrant.mode", "qdrant.url"),
        _lanes_fit_threads,
    ),
    Check(("executor.database_limit", *_LANES, *_POOL), _database_limit_fits_pool),
    Check((*_LANES, *_POOL), _database_share_fits_pool),
    Check(("embedding.base_url",), lambda settings: _http_url(settings.embedding.base_url)),
    Check(("embedding.model", "embedding.provider"), _openai_has_model),
    Check(("embedding.dimension", "embedding.provider"), _dimension_fits_provider),
    Check(("embedding.take_fields", "embedding.leave_fields"), _fields_are_taken_or_left),
    Check(("embedding.path", "embedding.provider"), _model2vec_has_path),
    Check(
        ("embedding.passage_prefix", "embedding.provider"),
        lambda settings: _prefixes_are_used(settings, settings.embedding.passage_prefix),
    ),
    Check(
        ("embedding.query_prefix", "embedding.provider"),
        lambda settings: _prefixes_are_used(settings, settings.embedding.query_prefix),
    ),
    Check(("worker.max_retry_delay", "worker.retry_delay"), _longest_pause_holds_first),
    Check(("worker.host", "worker.port", "api.api_keys"), _remote_worker_has_key),
    Check(("api.host", "api.api_keys"), _remote_bind_has_key),
)
