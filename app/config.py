"""Settings: environment over ``.env`` over YAML over defaults; typed, frozen, checked as a whole.

``from app.config import settings`` loads them at first use; importing this module reads nothing. A variable is
named ``SECTION_FIELD``. What each setting means is said in ``config.yml``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.errors import ConfigurationError, Problem
from app.masking import as_text, masked
from app.settings_checks import contradictions
from app.settings_sections import (
    FEWEST_WORKERS,
    ApiSettings,
    DatabaseSettings,
    EmbeddingSettings,
    ExecutorSettings,
    LoggingSettings,
    QdrantSettings,
    WorkerSettings,
)
from app.settings_sources import Given, read_layers, section_types, setting_keys

logger = getLogger(__name__)

Lane = Literal["database", "qdrant", "embedding", "files"]


class Settings(BaseSettings):
    """All sections, checked together. Made from values alone: :func:`load_settings` reads the sources."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        enable_decoding=False,
    )

    database: DatabaseSettings = DatabaseSettings()
    qdrant: QdrantSettings = QdrantSettings()
    executor: ExecutorSettings = ExecutorSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    worker: WorkerSettings = WorkerSettings()
    api: ApiSettings = ApiSettings()
    logging: LoggingSettings = LoggingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The given values only, so that settings made in a test know nothing of the machine's."""
        return (init_settings,)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := contradictions(self):
            raise ConfigurationError(problems)
        return self

    @property
    def db_pool_size(self) -> int:
        """``database.pool_size``."""
        return self.database.pool_size

    @property
    def db_max_overflow(self) -> int:
        """``database.max_overflow``."""
        return self.database.max_overflow

    @property
    def db_pool_timeout(self) -> float:
        """``database.pool_timeout``, in seconds."""
        return self.database.pool_timeout

    @property
    def database_url(self) -> str:
        """``database.url``, with its password."""
        return self.database.url

    def value(self, key: str) -> object:
        """The value at a dotted key."""
        section, _, name = key.partition(".")
        return getattr(getattr(self, section), name)

    def lane_limits(self) -> dict[Lane, int]:
        """Each lane's threads: as configured, else a share of ``executor.max_workers``.

        The embedded and memory engines, and SQLite in memory, take one call at a time, whatever is configured.
        """
        workers = self.executor.max_workers
        share = min(workers // 2, workers - FEWEST_WORKERS + 1)
        database = 1 if self.database.in_memory else self.executor.database_limit or share
        embedding = self.executor.embedding_limit or max(1, workers // 8)
        files = 1
        rest = max(1, workers - database - embedding - files)
        qdrant = self.executor.qdrant_limit or rest if self.qdrant.mode == "server" else 1
        return {"database": database, "qdrant": qdrant, "embedding": embedding, "files": files}

    def for_container(self) -> dict[str, dict[str, Any]]:
        """Nested plain values by section; the lanes' limits resolved; secrets still ``SecretStr``."""
        values: dict[str, dict[str, Any]] = self.model_dump()
        values["executor"] |= {f"{lane}_limit": limit for lane, limit in self.lane_limits().items()}
        return values


# --- reading them ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A setting as it may be shown: its value masked and in types JSON knows, and where it came from."""

    key: str
    value: object
    source: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All that the sources gave. ``settings`` is None if there are problems; then entries show what was given."""

    settings: Settings | None
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


def load_settings(config_file: Path | None = None) -> Settings:
    """The settings of this process.

    The YAML file is ``config_file``, else the one that ``AGENT_STORAGE_CONFIG`` names, else ``./config.yml``
    if there, else none. Variables that look like settings and aren't are logged as warnings.

    Raises:
        ConfigurationError: with every problem there is.
    """
    reading = read_settings(config_file)
    for warning in reading.warnings:
        logger.warning(warning)
    if reading.settings is None:
        raise ConfigurationError(reading.problems)
    return reading.settings


def read_settings(config_file: Path | None = None) -> Reading:
    """As :func:`load_settings`, but problems and warnings are returned, with each value and its source."""
    layer = read_layers(Settings, config_file)
    settings, refused = _validated(layer.given)
    found = [_refusal(key, layer.given[key].value) for key in refused] + contradictions(settings, refused)
    problems = (*layer.problems, *(_sourced(problem, layer.given) for problem in found))
    entries = tuple(_entry(key, settings, refused, layer.given) for key in setting_keys(Settings))
    return Reading(Settings(**dict(settings)) if not problems else None, entries, problems, layer.warnings)


def _validated(given: Mapping[str, Given]) -> tuple[Settings, list[str]]:
    """Settings, not checked as a whole, with the default in place of each value that is refused; and their keys."""
    sections: dict[str, Any] = {}
    refused: list[str] = []
    for name, kind in section_types(Settings).items():
        values = {key: given[f"{name}.{key}"].value for key in kind.model_fields if f"{name}.{key}" in given}
        bad = _refused_fields(kind, values)
        sections[name] = kind.model_validate({key: value for key, value in values.items() if key not in bad})
        refused += [f"{name}.{key}" for key in values if key in bad]
    return Settings.model_construct(**sections), refused


def _refused_fields(kind: type[BaseModel], values: Mapping[str, object]) -> set[object]:
    try:
        kind.model_validate(values)
    except ValidationError as error:
        return {detail["loc"][0] for detail in error.errors(include_input=False)}
    return set()


def _field(key: str) -> FieldInfo:
    section, _, name = key.partition(".")
    return section_types(Settings)[section].model_fields[name]


def _shown(key: str, value: object) -> object:
    # A refused value is still a plain string, so it is the setting's type that tells a secret.
    return masked(value, secret="SecretStr" in repr(_field(key).annotation))


def _refusal(key: str, value: object) -> Problem:
    return Problem(key, as_text(_shown(key, value)), f"must be {_field(key).description}")


def _sourced(problem: Problem, given: Mapping[str, Given]) -> Problem:
    return replace(problem, value=f"{problem.value} ({_source(problem.key, given)})")


def _entry(key: str, settings: Settings, refused: list[str], given: Mapping[str, Given]) -> Entry:
    value = given[key].value if key in refused else settings.value(key)
    return Entry(key, _shown(key, value), _source(key, given))


def _source(key: str, given: Mapping[str, Given]) -> str:
    return given[key].source if key in given else "default"


# --- the settings of this process, loaded at first use ---------------------------------------------------

if TYPE_CHECKING:
    settings: Settings
else:

    def __getattr__(name: str) -> Settings:
        if name != "settings":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Of two threads that come first, both get the settings of the one that was faster.
        return globals().setdefault("settings", load_settings())
