"""Check replacements of the container's parts, because mistakes would show only much later."""

from collections.abc import Mapping
from typing import NamedTuple

from app.errors import UnfitPart
from app.executor import BoundedExecutor
from app.services.embedding.embedder import Embedder
from app.services.storage.qdrant.opening import adapted
from app.services.storage.qdrant.ports import VectorClient


class _Interface(NamedTuple):
    """What a replacement of a part must have, and where that is described."""

    members: frozenset[str]
    described: str


def _interface(kind: type, page: str | None = None) -> _Interface:
    names = vars(kind).keys() | vars(kind).get("__annotations__", {}).keys()
    described = f"{kind.__module__}.{kind.__qualname__} describes them all"
    return _Interface(
        frozenset(name for name in names if not name.startswith("_")),
        described if page is None else f"{described}; see docs/extending/{page}",
    )


REPLACEABLE: Mapping[str, _Interface] = {
    "engine": _Interface(frozenset({"dialect", "dispose"}), "sqlalchemy.Engine has them"),
    "executor": _interface(BoundedExecutor),
    "embedder": _interface(Embedder, "embedder.md"),
    "qdrant_client": _interface(VectorClient, "vector-client.md"),
}
"""The parts whose replacements are checked, with their interfaces."""

_MAPPINGS = ("handlers", "lane_limits")


def checked_replacement(name: str, part: object, collection: str) -> object:
    """Check a replacement for the part ``name``, and return the part to use.

    A plain ``QdrantClient`` is wrapped as a client of ``collection``.

    Raises:
        UnfitPart: the part lacks what its users need, or isn't an instance.
    """
    if name == "qdrant_client":
        part = adapted(part, collection)
    if isinstance(part, type):
        given = f"the class {part.__qualname__}"
        raise UnfitPart(name, given, "it isn't an instance", "Pass an instance, or a provider of one")
    if name in REPLACEABLE:
        require_members(name, part)
    if type(part).__module__ == "builtins" and name not in _MAPPINGS:
        raise UnfitPart(
            name, _described(part), "it is a plain value", "Pass an object that does what that part does"
        )
    return part


def require_members(name: str, part: object) -> None:
    """Check that a part of :data:`REPLACEABLE` has the members of its interface.

    Raises:
        UnfitPart: it lacks some.
    """
    needed = REPLACEABLE[name]
    missing = sorted(each for each in needed.members if not hasattr(part, each))
    if missing:
        given = _described(part)
        raise UnfitPart(name, given, f"it has no {', '.join(missing)}", f"{needed.described}.", missing)


def _described(part: object) -> str:
    """Name the part in a message: a plain value by itself, another object by its class."""
    kind = type(part)
    is_plain = kind.__module__ == "builtins"
    return f"the {kind.__qualname__} {part!r:.80}" if is_plain else f"the {kind.__module__}.{kind.__qualname__}"
