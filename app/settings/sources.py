"""The sources of settings: the environment, ``.env`` and a YAML file, each value with its origin.

Only names are validated here. A name is a dotted key, ``section.field``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from pydantic import BaseModel
from pydantic_settings import BaseSettings, EnvSettingsSource

from app.errors import Problem
from app.settings.masking import MASK, as_text, masked
from app.settings.places import HOME_VARIABLE, PATH_KEYS, URL_KEY, based, based_url, expanded, home_folder

if TYPE_CHECKING:
    import yaml

DOTENV = Path(".env")
CONFIG_FILE = Path("config.yml")
_PLACEHOLDER = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*[^}]*\}")
CONFIG_VARIABLE = "AGENT_STORAGE_CONFIG"
ALIASES = {
    "db_pool_size": "database_pool_size",
    "db_max_overflow": "database_max_overflow",
    "db_pool_timeout": "database_pool_timeout",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A value as written, and its source."""

    value: object
    source: str


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of sources by dotted key, and the sources' problems and warnings."""

    given: Mapping[str, Given] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    def over(self, lower: "Layer") -> "Layer":
        """Merge both layers; this one's values win."""
        return Layer(
            {**lower.given, **self.given}, self.problems + lower.problems, self.warnings + lower.warnings
        )


def section_types(settings: type[BaseSettings]) -> dict[str, type[BaseModel]]:
    """Return the sections of ``settings`` by name."""
    kinds = {name: info.annotation for name, info in settings.model_fields.items()}
    return {
        name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


def setting_keys(settings: type[BaseSettings]) -> list[str]:
    """Return every setting's dotted key, in the order of declaration."""
    return [f"{name}.{key}" for name, kind in section_types(settings).items() for key in kind.model_fields]


def read_layers(settings: type[BaseSettings], config_file: Path | None) -> Layer:
    """Read all sources: the environment over ``.env`` over the YAML file.

    With ``AGENT_STORAGE_HOME``, both files and relative paths are relative to that folder.
    """
    environment = EnvSettingsSource(settings).env_vars
    try:
        home = home_folder(environment)
    except ValueError as error:
        named = as_text(environment.get(HOME_VARIABLE.lower()))
        return Layer(problems=(Problem(HOME_VARIABLE, named, f"must name a folder: {error}"),))
    dotenv_file = DOTENV if home is None else home / DOTENV
    dotenv, unreadable = _dotenv_variables(dotenv_file)
    path, named_by = _config_path(config_file, {**dotenv, **environment}, home)
    layers = [
        _variables_layer(settings, environment, "environment"),
        _variables_layer(settings, dotenv, str(dotenv_file)),
        Layer(
            problems=unreadable,
            warnings=(*_misplaced_home(dotenv, dotenv_file), *_unfilled(settings, dotenv, dotenv_file)),
        ),
        _file_layer(settings, path, named_by) if path else Layer(),
    ]
    given = reduce(Layer.over, layers)
    return given if home is None else _based(settings, given, home)


def _misplaced_home(dotenv: Mapping[str, str | None], file: Path) -> tuple[str, ...]:
    """Warn if ``.env`` sets the home folder, which has to be known to find ``.env``."""
    if not dotenv.get(HOME_VARIABLE.lower()):
        return ()
    return (f"{HOME_VARIABLE} ({file}) is ignored: it says where that file is; set it in the environment",)


def _based(settings: type[BaseSettings], layer: Layer, home: Path) -> Layer:
    """Resolve the layer's relative paths against ``home``, including default paths."""
    given = dict(layer.given)
    for key in (*PATH_KEYS, URL_KEY):
        section, _, name = key.partition(".")
        default = Given(section_types(settings)[section].model_fields[name].default, "default")
        written = given.get(key, default)
        if isinstance(written.value, str) and written.value.strip():
            start = based_url if key == URL_KEY else based
            given[key] = Given(start(written.value, home), written.source)
    return Layer(given, layer.problems, layer.warnings)


def _dotenv_variables(file: Path) -> tuple[Mapping[str, str | None], tuple[Problem, ...]]:
    """Read the file's variables by lower-case names, as written; ``${NAME}`` isn't expanded."""
    try:
        found = dotenv_values(file, interpolate=False) if file.is_file() else {}
    except OSError as error:
        return {}, (Problem(str(file), "the file", f"can't be read: {error.strerror}"),)
    except UnicodeDecodeError:
        return {}, (Problem(str(file), "the file", "must be UTF-8 text"),)
    return {name.lower(): value for name, value in found.items() if value}, ()  # an empty one isn't set


def _unfilled(settings: type[BaseSettings], variables: Mapping[str, str | None], file: Path) -> tuple[str, ...]:
    """Warn about settings with a placeholder, which isn't expanded."""
    ours = {key.replace(".", "_", 1) for key in setting_keys(settings)} | ALIASES.keys()
    return tuple(
        f"{name.upper()} ({file}) has {found[0]}, which is used as written: variables aren't expanded there"
        for name in sorted(ours & variables.keys())
        if (found := _PLACEHOLDER.search(variables[name] or ""))
    )


def _config_path(
    explicit: Path | None, variables: Mapping[str, str | None], home: Path | None
) -> tuple[Path | None, str]:
    """Return the YAML file, if any, and where it was named."""
    if explicit:
        return explicit, "--config"
    folder, place = (Path(), "in the current directory") if home is None else (home, f"in {HOME_VARIABLE}")
    if named := variables.get(CONFIG_VARIABLE.lower()):
        try:
            return folder / expanded(named), CONFIG_VARIABLE
        except ValueError:  # reading it will fail, with a message that names the file
            return Path(named), CONFIG_VARIABLE
    usual = folder / CONFIG_FILE
    return usual if usual.exists() else None, place


# --- variables ------------------------------------------------------------------------------------


def _variables_layer(settings: type[BaseSettings], variables: Mapping[str, str | None], place: str) -> Layer:
    """Select the settings among ``variables`` (lower-case names).

    An unknown variable with a section's prefix is only a warning, because orchestrators inject such
    names.
    """
    names = {key.replace(".", "_", 1): key for key in setting_keys(settings)}
    # Aliases come first, so that full names override them.
    spelled = {full: alias for alias, full in ALIASES.items() if variables.get(alias) is not None}
    spelled |= {name: name for name in names if variables.get(name) is not None}
    source = EnvSettingsSource(settings)
    source.env_vars = {name: variables[spelling] for name, spelling in spelled.items()}
    given = {
        f"{section}.{key}": Given(value, f"{place} {spelled[f'{section}_{key}'].upper()}")
        for section, values in source().items()
        for key, value in values.items()
    }
    # Container engines set CONTAINER_NAME, CONTAINER_ID and the like, so only names close to
    # CONTAINER_FACTORY count.
    sections = section_types(settings).keys() - {"container"}
    prefixes = (*(f"{section}_" for section in sections), "db_", "container_fa")
    known = [*names, *ALIASES]
    unknown = [name for name in variables if name.startswith(prefixes) and name not in known]
    return Layer(given, warnings=tuple(_unknown_variable(name, known, place) for name in unknown))


def _unknown_variable(name: str, known: list[str], place: str) -> str:
    nearest = _nearest(name, known).upper()
    return f"{name.upper()} ({place}) isn't a setting and is ignored; the nearest is {nearest}"


def _nearest(name: str, known: list[str]) -> str:
    return get_close_matches(name, known, n=1, cutoff=0.0)[0]


# --- the YAML file --------------------------------------------------------------------------------


def _file_layer(settings: type[BaseSettings], path: Path, named_by: str) -> Layer:
    document, problems = _read_yaml(path, named_by)
    return Layer(problems=tuple(problems)).over(document_layer(settings, document, str(path)))


def document_layer(settings: type[BaseSettings], document: Mapping[object, object], place: str) -> Layer:
    """Make a layer of a mapping of sections; ``place`` names its source."""
    sections = section_types(settings)
    given: dict[str, Given] = {}
    problems: list[Problem] = []
    for name, written in document.items():
        # The section has only one setting, so `container: mypackage.wiring:create` is allowed too.
        values = {"factory": written} if name == "container" and isinstance(written, str) else written
        if name not in sections:
            problems.append(_unknown_key(str(name), values, [*sections, *setting_keys(settings)], place))
        elif not isinstance(values, dict | None):
            allowed = f"must be a mapping with some of {', '.join(sections[name].model_fields)}"
            problems.append(Problem(name, _unknown_value(values, place), allowed))
        else:
            given |= {f"{name}.{key}": Given(value, place) for key, value in (values or {}).items()}
    keys = setting_keys(settings)
    problems += [_unknown_key(key, given[key].value, keys, place) for key in given if key not in keys]
    return Layer({key: value for key, value in given.items() if key in keys}, tuple(problems))


def _unknown_key(key: str, value: object, known: list[str], place: str) -> Problem:
    return Problem(key, _unknown_value(value, place), f"isn't a setting; the nearest is {_nearest(key, known)}")


def _unknown_value(value: object, place: str) -> str:
    """Mask text and nested values, because under a mistyped key they may be secrets."""
    scalar = value is None or isinstance(value, bool | int | float)
    return f"{as_text(masked(value)) if scalar else MASK} ({place})"


def _read_yaml(path: Path, named_by: str) -> tuple[dict[object, object], list[Problem]]:
    import yaml  # noqa: PLC0415 - only needed if there is a file

    from app.settings.plain_yaml import PlainLoader  # noqa: PLC0415 - likewise

    def refused(allowed: str) -> tuple[dict[object, object], list[Problem]]:
        return {}, [Problem("config file", f"{path} ({named_by})", allowed)]

    try:
        loader = PlainLoader(path.read_bytes())
        root = loader.get_single_node()
        document = loader.construct_document(root) if root else {}
    except OSError as error:
        return refused(f"can't be read: {error.strerror}")
    except yaml.MarkedYAMLError as error:
        # The parser's message may quote a secret from the file, so only the place is reported.
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return refused(f"must be valid YAML; it isn't{where}")
    except (yaml.YAMLError, ValueError, RecursionError):
        return refused("must be valid YAML in UTF-8")
    if document is None:
        return {}, []
    if not isinstance(document, dict):
        return refused("must be a mapping of sections, such as `database:` with indented settings")
    twice = [Problem(key, f"twice ({path})", "must be written once") for key in _repeated_keys(root)]
    return document, twice


def _repeated_keys(root: "yaml.Node | None") -> Iterator[str]:
    """Yield repeated sections and settings; the parser silently keeps the last."""
    sections = _pairs(root)
    yield from _repeated(name for name, _ in sections)
    for name, section in sections:
        yield from _repeated(f"{name}.{key}" for key, _ in _pairs(section))


def _pairs(node: "yaml.Node | None") -> list[tuple[str, "yaml.Node"]]:
    if node is None or node.tag != "tag:yaml.org,2002:map":
        return []
    return [(str(key.value), value) for key, value in node.value]


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
