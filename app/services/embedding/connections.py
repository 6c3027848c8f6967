"""The HTTP connections to an embedding endpoint."""

import threading
from typing import TYPE_CHECKING

from pydantic import SecretStr

from app.errors import EmbeddingError

if TYPE_CHECKING:
    import httpx2


class Connections:
    """One HTTP client for all threads, opened when it is first needed. The container owns and closes it.

    The key goes into the requests' header, and into no log, error or ``repr``.
    """

    def __init__(self, api_key: SecretStr | None) -> None:
        self._api_key = api_key or SecretStr("")
        self._opening = threading.Lock()
        self._client: httpx2.Client | None = None

    def client(self) -> "httpx2.Client":
        """The client; it follows no redirects.

        Raises:
            EmbeddingError: the key holds a character that no HTTP header can carry.
        """
        import httpx2  # noqa: PLC0415 - only who embeds this way waits for it

        with self._opening:
            if self._client is None:
                key = self.key()
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                self._client = httpx2.Client(
                    headers={"Content-Type": "application/json", **headers}, follow_redirects=False
                )
            return self._client

    def key(self) -> str:
        """The key as the header carries it; empty when there is none.

        Raises:
            EmbeddingError: it holds a character that no HTTP header can carry.
        """
        key = self._api_key.get_secret_value().strip()
        if not (key.isascii() and key.isprintable()):  # the client's own error would quote it
            raise EmbeddingError("embedding.api_key holds a character that no HTTP header can carry")
        return key

    def close(self) -> None:
        """Close the connections; a second time does nothing."""
        with self._opening:
            if self._client is not None:
                self._client.close()
