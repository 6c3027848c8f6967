"""One error of each class that a caller can get, made from its constructor's signature."""

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_type_hints

from app import errors

_SAMPLES: dict[str, Any] = {
    "problems": [errors.Problem("database.url", "x", "must be a URL")],
    "supported": ["sqlite"],
    "observed_at": datetime(2026, 1, 1, tzinfo=UTC),
    "newest": datetime(2026, 1, 2, tzinfo=UTC),
    "limit_s": 2.0,
    "retry_after_s": 2.0,
}


def one_of_each() -> Iterator[errors.AgentStorageError]:
    """Make an error of every class of the tree, including the roots."""
    waiting: list[type[errors.AgentStorageError]] = [errors.AgentStorageError]
    while waiting:
        made = waiting.pop()
        waiting += made.__subclasses__()
        yield made(*_positional(made))


def _positional(made: type[errors.AgentStorageError]) -> list[Any]:
    if "__init__" not in vars(made) and not any("__init__" in vars(base) for base in _ours(made)):
        return ["what happened"]
    hints = get_type_hints(made.__init__)
    parameters = list(inspect.signature(made.__init__).parameters.values())[1:]
    return [
        _SAMPLES.get(each.name, _sample(hints.get(each.name)))
        for each in parameters
        if each.kind is each.POSITIONAL_OR_KEYWORD
    ]


def _ours(made: type[errors.AgentStorageError]) -> Iterator[type]:
    return (base for base in made.__mro__ if base.__module__ == errors.__name__)


def _sample(hint: object) -> Any:
    return {int: 1, float: 1.0}.get(hint, "something")  # type: ignore[call-overload]  # any hint may occur
