"""The HTTP connections to an embedding endpoint."""

import threading
from typing import TYPE_CHECKING

from pydantic import SecretStr

from app.errors import EmbeddingError

if TYPE_CHECKING:
    import httpx2


class Connections:
    """One HTTP client for all threads, opened on first use. The container owns and closes it.

    The key goes only into the requests' header, never into a log, an error or a ``repr``.
    """

    def __init__(self, api_key: SecretStr | None) -> None:
        self._api_key = api_key or SecretStr("")
        self._opening = threading.Lock()
        self._client: httpx2.Client | None = None

    def client(self) -> "httpx2.Client":
        """The client; it doesn't follow redirects.

        Raises:
            EmbeddingError: the key has a character that an HTTP header can't carry.
        """
        import httpx2  # noqa: PLC0415 - slow to import, and only needed for this embedder

        with self._opening:
            if self._client is None:
                key = self.key()
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                self._client = httpx2.Client(
                    headers={"Content-Type": "application/json", **headers}, follow_redirects=False
                )
            return self._client

    def key(self) -> str:
        """The key for the header; empty if there is none.

        Raises:
            EmbeddingError: the key has a character that an HTTP header can't carry.
        """
        key = self._api_key.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()):  # the client's own error would quote it
            raise EmbeddingError("embedding.api_key holds a character that no HTTP header can carry")
        return key

    def close(self) -> None:
        """Close the connections; idempotent."""
        with self._opening:
            if self._client is not None:
                self._client.close()
