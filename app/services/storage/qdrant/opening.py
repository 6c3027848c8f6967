"""Opening the vector client that the settings name; each engine's library is imported only where it is wanted."""

from pathlib import Path
from typing import assert_never

from app.services.storage.qdrant.ports import VectorClient
from app.settings.sections import QdrantSettings


def adapted(client: object, collection: str) -> object:
    """A plain ``QdrantClient`` as a :class:`VectorClient`, which its owner closes; anything else as it is."""
    if not type(client).__module__.startswith("qdrant_client."):
        return client
    from qdrant_client import QdrantClient  # noqa: PLC0415 - loaded already by whoever made the client

    from app.services.storage.qdrant.adapter import borrowed_client  # noqa: PLC0415 - slow to import

    return borrowed_client(client, collection) if isinstance(client, QdrantClient) else client


def open_vector_client(settings: QdrantSettings, *, connections: int = 1) -> VectorClient:
    """Open the client of ``settings.mode``; the caller closes it. A server isn't contacted yet.

    ``connections`` is how many requests to a server may run at once: the lane's limit.

    Raises:
        DataDirectoryLocked: another process uses the embedded engine's directory.
        QdrantError: that directory holds something that can't be opened.
        ConfigurationError: a PEM file or the API key of a server can't be used.
    """
    match settings.mode:
        case "embedded":
            from app.services.storage.qdrant.edge import EdgeClient  # noqa: PLC0415 - only where it is wanted

            return EdgeClient(Path(settings.path), settings.collection)
        case "memory":
            from app.services.storage.qdrant.adapter import memory_client  # noqa: PLC0415 - slow to import

            return memory_client(settings.collection)
        case "server":
            from app.services.storage.qdrant.server import server_client  # noqa: PLC0415 - slow to import

            return server_client(settings, connections)
        case _:
            assert_never(settings.mode)
