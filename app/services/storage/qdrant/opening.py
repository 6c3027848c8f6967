"""Open the vector client that the settings name. Only its engine's library is imported."""

from pathlib import Path
from typing import assert_never

from app.services.storage.qdrant.ports import VectorClient
from app.settings.sections import QdrantSettings


def adapted(client: object, collection: str) -> object:
    """Wrap a plain ``QdrantClient``, which its owner closes; return anything else unchanged."""
    if not type(client).__module__.startswith("qdrant_client."):
        return client
    from qdrant_client import QdrantClient  # noqa: PLC0415 - loaded with the given client

    from app.services.storage.qdrant.adapter import borrowed_client  # noqa: PLC0415 - slow to import

    return borrowed_client(client, collection) if isinstance(client, QdrantClient) else client


def open_vector_client(settings: QdrantSettings, *, connections: int = 1) -> VectorClient:
    """Open the client of ``settings.mode``; the caller closes it. A server isn't contacted yet.

    ``connections`` is how many requests to a server may run at once: the lane's limit.

    Raises:
        DataDirectoryLocked: another process uses the embedded engine's directory.
        QdrantError: that directory can't be created, or its shard can't be opened.
        ConfigurationError: a PEM file or the API key of a server can't be used.
    """
    match settings.mode:
        case "embedded":
            from app.services.storage.qdrant.edge import EdgeClient  # noqa: PLC0415 - only this mode needs it

            return EdgeClient(Path(settings.path), settings.collection)
        case "memory":
            from app.services.storage.qdrant.adapter import memory_client  # noqa: PLC0415 - slow to import

            return memory_client(settings.collection)
        case "server":
            from app.services.storage.qdrant.server import server_client  # noqa: PLC0415 - slow to import

            return server_client(settings, connections)
        case _:
            assert_never(settings.mode)
