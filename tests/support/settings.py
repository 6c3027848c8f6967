"""Helpers for the tests of the settings."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from app.config import Settings, load_settings
from app.errors import ConfigurationError, Problem
from app.settings.sources import section_types, setting_keys

SECTIONS = section_types(Settings)
KEYS = setting_keys(Settings)
SECRET = "hunter2"  # noqa: S105 - no real secret
SECRETS: dict[str, dict[str, object]] = {
    "database": {"url": f"postgresql://me:{SECRET}@db/x?sslpassword={SECRET}"},
    "qdrant": {"url": f"https://{SECRET}@cloud", "api_key": SECRET},
    "embedding": {"api_key": SECRET, "base_url": f"https://cloud/v1?api_key={SECRET}"},
    "api": {"api_keys": [f"{SECRET} of the API", f"{SECRET} of Prometheus"]},
}

_OURS = tuple(f"{name}_" for name in (*SECTIONS, "db", "agent_storage"))


def environment_without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().startswith(_OURS)}


def enter_empty_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make ``folder`` the current directory, and remove settings from the environment."""
    monkeypatch.chdir(folder)
    for name in os.environ.keys() - environment_without_settings().keys():
        monkeypatch.delenv(name)
    return folder


def write_yaml(path: Path, values: object) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def variable(key: str) -> str:
    """The environment variable of a dotted key."""
    return key.replace(".", "_", 1).upper()


def description(key: str) -> str:
    """The description of a setting."""
    section, _, name = key.partition(".")
    return SECTIONS[section].model_fields[name].description or ""


def problems_of(values: Mapping[str, object], folder: Path) -> list[Problem]:
    """The problems of a YAML file with ``values``."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write_yaml(folder / "given.yml", values))
    return list(caught.value.problems)


def keys_of(problems: list[Problem]) -> list[str]:
    return [problem.key for problem in problems]
