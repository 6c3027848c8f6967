"""Settings: environment over ``.env`` over YAML over defaults; typed, frozen, checked as a whole.

``from app.config import settings`` loads them at first use; importing this module reads nothing.
Environment variables are named ``SECTION_FIELD``. ``config.yml`` documents each setting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ValidationError, model_validator
from pydantic.fields import FieldInfo

from app.errors import ConfigurationError, Problem
from app.settings.checks import contradictions
from app.settings.masking import as_text, masked
from app.settings.sources import Given, Layer, document_layer, read_layers, section_types, setting_keys
from app.settings.unchecked import UncheckedSettings

logger = getLogger(__name__)


class Settings(UncheckedSettings):
    """All sections, checked together. It reads no sources; :func:`load_settings` does."""

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


# --- reading the sources --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A setting for display: its value, masked and as JSON types, and its source."""

    key: str
    value: object
    source: str


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading all sources.

    ``settings`` is None if there are problems; ``entries`` then show the given values.
    """

    settings: Settings | None
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


def load_settings(config_file: Path | None = None) -> Settings:
    """Load the settings of this process.

    The YAML file is ``config_file``, else the one that ``AGENT_STORAGE_CONFIG`` names, else
    ``./config.yml`` if it exists, else none. Variables that look like settings and aren't are
    logged as warnings.

    Raises:
        ConfigurationError: settings are invalid; it carries every problem.
    """
    reading = read_settings(config_file)
    for warning in reading.warnings:
        logger.warning(warning)
    if reading.settings is None:
        raise ConfigurationError(reading.problems)
    return reading.settings


def read_settings(config_file: Path | None = None) -> Reading:
    """Read settings as :func:`load_settings` does, but return problems, warnings and sources."""
    return _reading(read_layers(Settings, config_file))


def settings_from(values: Mapping[object, object] | None) -> Settings:
    """Make settings from a mapping of sections, such as a container's ``config``; read no sources.

    Missing settings have their defaults.

    Raises:
        ConfigurationError: the mapping is empty, or settings are invalid; it carries every problem.
    """
    if not values:
        raise ConfigurationError([Problem("config", "nothing", f"must be filled {_WAYS_TO_FILL}")])
    reading = _reading(document_layer(Settings, values, "the container's config"))
    if reading.settings is None:
        raise ConfigurationError(reading.problems)
    return reading.settings


_WAYS_TO_FILL = (
    "before a provider is called: by `create_container(settings)`, or on your own container by "
    '`container.config.from_pydantic(load_settings())` or `container.config.from_yaml("config.yml")`'
)


def _reading(layer: Layer) -> Reading:
    settings, refused = _validated(layer.given)
    found = [_refusal(key, layer.given[key].value) for key in refused] + contradictions(settings, refused)
    problems = (*layer.problems, *(_sourced(problem, layer.given) for problem in found))
    entries = tuple(_entry(key, settings, refused, layer.given) for key in setting_keys(Settings))
    return Reading(Settings(**dict(settings)) if not problems else None, entries, problems, layer.warnings)


def _validated(given: Mapping[str, Given]) -> tuple[UncheckedSettings, list[str]]:
    """Return settings with defaults for refused values, unchecked as a whole, and refused keys."""
    sections: dict[str, Any] = {}
    refused: list[str] = []
    for name, kind in section_types(Settings).items():
        values = {key: given[f"{name}.{key}"].value for key in kind.model_fields if f"{name}.{key}" in given}
        bad = _refused_fields(kind, values)
        sections[name] = kind.model_validate({key: value for key, value in values.items() if key not in bad})
        refused += [f"{name}.{key}" for key in values if key in bad]
    return UncheckedSettings(**sections), refused


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
    # A refused value is still a plain string, so the setting's type says whether it is secret.
    return masked(value, secret="SecretStr" in repr(_field(key).annotation))


def _refusal(key: str, value: object) -> Problem:
    return Problem(key, as_text(_shown(key, value)), f"must be {_field(key).description}")


def _sourced(problem: Problem, given: Mapping[str, Given]) -> Problem:
    return replace(problem, value=f"{problem.value} ({_source(problem.key, given)})")


def _entry(key: str, settings: UncheckedSettings, refused: list[str], given: Mapping[str, Given]) -> Entry:
    value = given[key].value if key in refused else settings.value(key)
    return Entry(key, _shown(key, value), _source(key, given))


def _source(key: str, given: Mapping[str, Given]) -> str:
    return given[key].source if key in given else "default"


# --- the settings of this process, loaded at first use --------------------------------------------

if TYPE_CHECKING:
    settings: Settings
else:

    def __getattr__(name: str) -> Settings:
        if name != "settings":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # If two threads load them at the same time, both get the settings of the first to finish.
        return globals().setdefault("settings", load_settings())
