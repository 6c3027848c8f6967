"""Creates the container: the package's own, or the one that the user's factory makes."""

import traceback
from importlib import import_module
from typing import NoReturn

from app.config import Settings
from app.errors import AgentStorageError, ConfigurationError, Problem
from containers import Container, create_container


def container_of(settings: Settings) -> Container:
    """Create the container by ``container.factory``, or by ``create_container`` if that is null.

    Raises:
        ConfigurationError: the function doesn't exist, or returned no complete container.
    """
    factory = settings.container.factory
    if factory is None:
        return create_container(settings)
    module, _, name = factory.partition(":")
    try:
        create = getattr(import_module(module), name)
    except ImportError as error:
        _refuse(factory, f"{error}; its module must be installed, or be on PYTHONPATH", error)
    except AttributeError as error:
        _refuse(factory, str(error), error)
    try:
        container: Container = create(settings)
    except AgentStorageError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything
        where = traceback.extract_tb(error.__traceback__)[-1]
        _refuse(factory, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})", error)
    missing = Container.providers.keys() - getattr(container, "providers", {}).keys()
    if missing:
        _refuse(factory, f"it returned {container!r:.60}, which has no provider {min(missing)!r}")
    return container


def _refuse(factory: str, reason: str, cause: Exception | None = None) -> NoReturn:
    allowed = f"must name a function that takes the settings and returns a Container: {reason}"
    raise ConfigurationError([Problem("container.factory", factory, allowed)]) from cause
