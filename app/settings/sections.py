"""The sections of the settings: each field's name, type, default and range."""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from app.settings.masking import masked
from app.settings.places import expanded, expanded_url, with_port

QdrantMode = Literal["embedded", "server", "memory"]
EmbeddingProvider = Literal["wordllama", "multilingual", "model2vec", "openai", "deterministic"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_DAY = 86_400
_DIMENSIONS = {"wordllama": 256, "multilingual": 384, "deterministic": 32}
FEWEST_WORKERS = 4  # one per lane
FEWEST_KEY_CHARS = 16


def _stripped(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value().strip()
    if not text:
        raise PydanticCustomError("blank", "blank")
    return SecretStr(text)


def _strong(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if len(text) < FEWEST_KEY_CHARS or (text[0] == text[-1] and text[0] in "'\"`"):
        raise PydanticCustomError("weak", "short or in quotes")
    return key


def _listed(value: object) -> object:
    """Parse a list from a variable's text: JSON if it begins with a bracket, else with commas."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [part for part in value.split(",") if part.strip()]
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise PydanticCustomError("json", "not a JSON list") from error


def _mapped(value: object) -> object:
    """Parse a mapping from a variable's text, which is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise PydanticCustomError("json", "not a JSON object") from error


def _refuse_boolean(value: object) -> object:
    # pydantic would take True for 1.
    if isinstance(value, bool):
        raise PydanticCustomError("boolean", "a boolean")
    return value


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
FilePath = Annotated[Text, AfterValidator(expanded)]
Prefix = Annotated[str, StringConstraints(pattern=r"\S", max_length=1_000)]
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\s*]+$", strip_whitespace=True)]
Secret = Annotated[SecretStr, AfterValidator(_stripped)]
ApiKey = Annotated[Secret, AfterValidator(_strong)]
Seconds = Annotated[float, Field(gt=0, le=_DAY, allow_inf_nan=False), BeforeValidator(_refuse_boolean)]


# A field's description says which values are allowed; it is the error message for other values.


def _count(default: int | None, at_least: int = 1, allowed: str = "") -> Any:  # noqa: ANN401 - as Field
    words = f"a whole number, {at_least} or more" + (", or null" if default is None else "")
    return Field(default, ge=at_least, description=allowed or words)


def _switch(default: bool | None) -> Any:  # noqa: ANN401 - as Field
    return Field(default, description="true or false" + (", or null" if default is None else ""))


def _optional(words: str) -> Any:  # noqa: ANN401 - as Field
    return Field(default=None, description=f"{words}, or null")


def _seconds(default: float) -> Any:  # noqa: ANN401 - as Field
    words = f"a number of seconds, more than 0 and at most {_DAY} (a day)"
    return Field(default, gt=0, le=_DAY, allow_inf_nan=False, description=words)


class Section(BaseModel):
    """Part of the settings; shown with its secrets masked."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: object, info: ValidationInfo) -> object:
        is_switch = cls.model_fields[str(info.field_name)].annotation in {bool, bool | None}
        return value if is_switch else _refuse_boolean(value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, masked(value)) for name, value in super().__repr_args__()]


class DatabaseSettings(Section):
    """The SQL store and its connection pool."""

    url: Text = Field(default="sqlite:///data/agent-storage.db", description="a SQLite or PostgreSQL URL")
    pool_size: int = _count(5, allowed="a whole number, 1 or more (0 would mean connections without a bound)")
    max_overflow: int = _count(10, 0)
    pool_timeout: float = _seconds(30.0)
    pool_recycle: int = _count(1800, allowed="a whole number of seconds, 1 or more")
    statement_timeout: float = _seconds(60.0)
    idle_in_transaction_timeout: float = _seconds(60.0)
    prepared_statements: bool = _switch(default=True)
    data_indexes: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = Field(
        default=(),
        max_length=20,
        description="at most 20 paths such as price.amount; in a variable, separated by commas or as a JSON list",
    )

    @field_validator("url")
    @classmethod
    def _name_driver(cls, url: str) -> str:
        scheme, separator, location = url.partition("://")
        return f"postgresql+psycopg{separator}{location}" if scheme == "postgresql" else expanded_url(url)

    @property
    def in_memory(self) -> bool:
        """Whether the database is an in-memory one of SQLite."""
        location, _, query = self.url.partition("://")[2].partition("?")
        named = location not in {"", "/", "/:memory:", "/file::memory:"}
        return self.url.startswith("sqlite") and (not named or "mode=memory" in query.split("&"))


class QdrantSettings(Section):
    """The Qdrant engine that holds the vectors, and the time limits of its calls."""

    url: Text | None = Field(default=None, description="a URL such as http://localhost:6333, or null")
    # After `url`, from which it is derived when unset.
    mode: QdrantMode = Field(
        default=None, validate_default=True, description="embedded, server, memory or null"
    )
    path: FilePath = Field(default="data/qdrant", description="a directory")
    collection: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = Field(
        default="extractions",
        description="1 to 100 characters: letters A to Z, digits, '.', '-' and '_', the first a letter or digit",
    )
    api_key: Secret | None = Field(
        default=None, description="text that isn't blank (a number needs quotes), or null"
    )
    timeout: int = _count(10, allowed="a whole number of seconds, 1 or more")
    retry_timeout: float = _seconds(30.0)
    prefer_grpc: bool | None = _switch(default=None)
    grpc_port: int = Field(default=6334, ge=1, le=65_535, description="a whole number from 1 to 65535")
    ca_file: FilePath | None = _optional("a file")
    cert_file: FilePath | None = _optional("a file")
    key_file: FilePath | None = _optional("a file")
    shard_number: int | None = _count(None)
    replication_factor: int | None = _count(None)
    write_consistency_factor: int | None = _count(None)

    @field_validator("url")
    @classmethod
    def _name_port(cls, url: str | None) -> str | None:
        return None if url is None else with_port(url)

    @field_validator("mode", mode="before")
    @classmethod
    def _derive_mode(cls, mode: object, info: ValidationInfo) -> object:
        if mode is not None:
            return mode
        return "server" if info.data.get("url") else "embedded"


class ExecutorSettings(Section):
    """The thread pool and the lanes' shares of it; see :meth:`Settings.lane_limits`."""

    max_workers: int = _count(
        16, FEWEST_WORKERS, f"a whole number, {FEWEST_WORKERS} or more (one thread per lane)"
    )
    database_limit: int | None = _count(None)
    qdrant_limit: int | None = _count(None)
    embedding_limit: int | None = _count(None)
    max_waiting: int = _count(1000)
    shutdown_timeout: float = _seconds(10.0)


_FIELD_PATHS = (
    "a list of field names, nested ones as dotted paths (address.city); in a variable, separated by commas or as a "
    "JSON list"
)
FieldPaths = Annotated[
    tuple[Annotated[Text, StringConstraints(pattern=r"^[^.]+(\.[^.]+)*$")], ...], BeforeValidator(_listed)
]


class EmbeddingSettings(Section):
    """The embedder and the texts that it embeds.

    After validation, ``dimension`` is None only if the model's own dimension applies.
    """

    provider: EmbeddingProvider = Field(
        default="wordllama", description="wordllama, multilingual, model2vec, openai or deterministic"
    )
    model: Text | None = Field(default=None, description="a model's name, or null")
    path: FilePath | None = _optional("a folder")
    base_url: Text = Field(default="https://api.openai.com/v1", description="a URL")
    api_key: Secret | None = Field(
        default=None, description="text that isn't blank (a number needs quotes), or null"
    )
    dimension: int | None = Field(
        default=None, ge=1, validate_default=True, description="a whole number, 1 or more, or null"
    )
    passage_prefix: Prefix | None = _optional("text that isn't blank")
    query_prefix: Prefix | None = _optional("text that isn't blank")
    batch_size: int = _count(256)
    max_chars: int | None = Field(default=None, ge=1, description="a whole number, 1 or more, or null")
    timeout: float = _seconds(30.0)
    retry_timeout: float = _seconds(60.0)
    text_fields: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = Field(
        default=("fact_text", "text", "summary"),
        min_length=1,
        description="at least one field name; in a variable, separated by commas or as a JSON list",
    )

    take_fields: FieldPaths = Field(default=(), description=_FIELD_PATHS)
    leave_fields: FieldPaths = Field(default=(), description=_FIELD_PATHS)

    @property
    def label(self) -> str:
        """The embedder and its texts in one line, for comparing two settings; without secrets."""
        named = "/".join(filter(None, (self.provider, self.model, self.path)))
        dimensions = f"{self.dimension} dimensions" if self.dimension else "the model's dimensions"
        prefixes = [repr(it) for it in (self.passage_prefix, self.query_prefix) if it is not None]
        prefixed = f" and the prefixes {', '.join(prefixes)}" if prefixes else ""
        label = f"{named} with {dimensions}{prefixed}, of the first field of {', '.join(self.text_fields)}"
        for done, paths in (("with", self.take_fields), ("without", self.leave_fields)):
            label += f", {done} {', '.join(paths)}" if paths else ""
        return label

    @field_validator("dimension", mode="before")
    @classmethod
    def _derive_dimension(cls, dimension: object, info: ValidationInfo) -> object:
        return _DIMENSIONS.get(info.data.get("provider", "")) if dimension is None else dimension


class WorkerSettings(Section):
    """How services start and stop, and how workers claim, keep and settle jobs."""

    startup_timeout: float = _seconds(60.0)
    shutdown_timeout: float = _seconds(30.0)
    concurrency: int = _count(16)
    batch_size: int = _count(1000)
    lease_timeout: float = _seconds(60.0)
    poll_interval: float = _seconds(1.0)
    max_attempts: int = _count(20)
    retry_delay: float = _seconds(1.0)
    max_retry_delay: float = _seconds(300.0)
    time_limit: float = _seconds(3600.0)
    time_limits: Annotated[dict[Text, Seconds], BeforeValidator(_mapped)] = Field(
        default={},
        description="seconds by job type, more than 0 and at most 86400 (a day); in a variable, as a JSON object",
    )
    keep_finished: float = Field(
        default=7.0 * _DAY,
        ge=0,
        le=3650 * _DAY,
        allow_inf_nan=False,
        description="a number of seconds, 0 or more and at most 315360000 (ten years)",
    )
    host: Text = Field(default="127.0.0.1", description="an address or host name")
    port: int | None = Field(
        default=None, ge=1, le=65_535, description="a whole number from 1 to 65535, or null"
    )


class ApiSettings(Section):
    """The HTTP API's address, keys and limits."""

    host: Text = Field(default="127.0.0.1", description="an address or host name")
    port: int = Field(default=8000, ge=1, le=65_535, description="a whole number from 1 to 65535")
    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description=f"a list of keys of at least {FEWEST_KEY_CHARS} characters without quotes around them (openssl rand -hex 24 "
        "makes one); in a variable, separated by commas or as a JSON list",
    )
    keep_alive: float = _seconds(75.0)
    root_path: Annotated[str, StringConstraints(pattern=r"^(/[^/?#\s]+)+$")] | None = _optional(
        "a path such as /storage, without a slash at its end"
    )
    cors_origins: Annotated[tuple[Origin, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="origins such as https://app.example.org; in a variable, separated by commas or as a JSON list",
    )
    max_body_bytes: int = _count(32 * 2**20)
    max_items: int = _count(10_000)
    max_string_chars: int = _count(1_000_000)
    max_json_depth: int = _count(64)


class RetentionSettings(Section):
    """How long history is kept."""

    history: float = Field(
        default=30.0,
        ge=0,
        le=36_500,
        allow_inf_nan=False,
        description="a number of days, 0 or more and at most 36500 (a hundred years)",
    )


class ContainerSettings(Section):
    """The function that creates the container."""

    factory: Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*:\w+$", strip_whitespace=True)] | None = (
        _optional("a function as module:name, such as mypackage.wiring:create")
    )


class LoggingSettings(Section):
    """The log's level."""

    level: LogLevel = Field(default="INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL")

    @field_validator("level", mode="before")
    @classmethod
    def _upper(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level
