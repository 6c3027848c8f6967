"""Check replacements of the container's parts, because mistakes would show only much later."""

from app.executor import BoundedExecutor
from app.services.embedding.embedder import Embedder
from app.services.storage.qdrant.opening import adapted
from app.services.storage.qdrant.ports import VectorClient


def _members(kind: type) -> frozenset[str]:
    names = vars(kind).keys() | vars(kind).get("__annotations__", {}).keys()
    return frozenset(name for name in names if not name.startswith("_"))


_NEEDED = {
    "engine": frozenset({"dialect", "dispose"}),
    "executor": _members(BoundedExecutor),
    "embedder": _members(Embedder),
    "qdrant_client": _members(VectorClient),
}
"""The members that a replacement of each replaceable part must have."""

_MAPPINGS = ("handlers", "lane_limits")


def checked_replacement(name: str, part: object, collection: str) -> object:
    """Check a replacement for the part ``name``, and return the part to use.

    A plain ``QdrantClient`` is wrapped as a client of ``collection``.

    Raises:
        TypeError: the part lacks what its users need.
    """
    if name == "qdrant_client":
        part = adapted(part, collection)
    if isinstance(part, type):
        raise TypeError(f"{name} is the class {part.__name__}; pass an instance, or a provider of one")
    missing = sorted(each for each in _NEEDED.get(name, ()) if not hasattr(part, each))
    if missing:
        raise TypeError(f"{name} can't be {part!r:.80}: it has no {', '.join(missing)}")
    if type(part).__module__ == "builtins" and name not in _MAPPINGS:
        raise TypeError(f"{name} can't be {part!r:.80}, a {type(part).__name__}")
    return part
