"""The reference of the settings: names, types and defaults, and their meaning from config.yml."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.config import Settings
from app.settings.masking import as_text, masked
from app.settings.sources import ALIASES, section_types
from generate.markdown import code, page, plain, table

_SECTION = re.compile(r"(\w+):$")
_SETTING = re.compile(r"  (\w+):")
_COMMENT = re.compile(r"\s*# ?(.*)")
_ALIAS = re.compile(r" Also [A-Z_]+\.")

_INTRODUCTION = """\
Every setting, with its environment variable, its default and its allowed values.

A setting is looked up in this order; the first place that has it wins:

1. an environment variable,
2. the file `.env` in the current directory,
3. a YAML file: the one of `--config FILE`, else of the variable `AGENT_STORAGE_CONFIG`, else `./config.yml`,
4. the default.

An empty variable counts as not set. In a variable, write a list with commas or as JSON, and a
mapping as JSON. An unknown key in the file is an error that names the nearest setting. An
unknown variable that looks like a setting is a warning. `agent-storage config show` prints the
effective settings and where each comes from, with secrets masked; `agent-storage config check`
finds mistakes."""


def settings_page(config_file: Path) -> str:
    """Generate the page.

    Raises:
        KeyError: the file has no comment on a setting.
    """
    meanings = dict(_meanings(config_file.read_text(encoding="utf-8")))
    sections = [_section(name, kind, meanings) for name, kind in section_types(Settings).items()]
    return page("# Configuration", _INTRODUCTION, *sections)


def _meanings(text: str) -> Iterator[tuple[str, str]]:
    """Yield each setting's dotted key with the comment above it."""
    section, comment = "", list[str]()
    for line in text.splitlines():
        if found := _COMMENT.fullmatch(line):
            comment.append(found[1])
            continue
        if found := _SECTION.match(line):
            section = found[1]
        elif found := _SETTING.match(line):
            yield f"{section}.{found[1]}", _ALIAS.sub("", " ".join(comment))
        comment = []


def _section(name: str, kind: type[BaseModel], meanings: dict[str, str]) -> str:
    settings = [_setting(f"{name}.{key}", field, meanings) for key, field in kind.model_fields.items()]
    return page(f"## {name}", *settings).rstrip()


def _setting(key: str, field: FieldInfo, meanings: dict[str, str]) -> str:
    row = (" or ".join(code(name) for name in _variables(key)), _default(key), plain(field.description or ""))
    return page(f"### `{key}`", plain(meanings[key]), table(("Variable", "Default", "Allowed"), [row])).rstrip()


def _variables(key: str) -> list[str]:
    full = key.replace(".", "_", 1)
    return [full.upper(), *(alias.upper() for alias, target in ALIASES.items() if target == full)]


def _default(key: str) -> str:
    """Format the default as in the YAML file; null means that it depends on other settings."""
    section, _, name = key.partition(".")
    default = section_types(Settings)[section].model_fields[name].default
    if default in ((), {}):
        return "none"
    return code(as_text(masked(default)))
