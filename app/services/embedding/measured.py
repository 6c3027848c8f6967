"""An embedder that measures another, and holds it to the protocol."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.errors import AgentStorageError, EmbeddingError, EmbeddingUnavailable
from app.services.embedding.embedder import Embedder, EmbedderIdentity, TextRole
from app.services.metrics.instruments import Instruments


class MeasuredEmbedder:
    """Reports another embedder's calls to ``instruments``, except cancelled ones.

    The other embedder may be a user's own. An array of another shape than its identity promises is
    an :class:`EmbeddingError`. Its unknown exceptions become :class:`EmbeddingUnavailable`, because
    they are assumed to be transient.
    """

    def __init__(self, embedder: Embedder, instruments: Instruments) -> None:
        self._embedder = embedder
        self._instruments = instruments

    @property
    def identity(self) -> EmbedderIdentity:
        """See :meth:`Embedder.identity`."""
        return self._embedder.identity

    @property
    def languages(self) -> frozenset[str] | None:
        """See :meth:`Embedder.languages`."""
        return self._embedder.languages

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`."""
        started = time.monotonic()
        try:
            vectors = await self._checked(texts, role)
        except AgentStorageError:
            self._instruments.embedding(len(texts), time.monotonic() - started, failed=True)
            raise
        self._instruments.embedding(len(texts), time.monotonic() - started, failed=False)
        return vectors

    async def _checked(self, texts: Sequence[str], role: TextRole) -> NDArray[np.float32]:
        identity = self.identity
        try:
            vectors = await self._embedder.embed(texts, role)
        except AgentStorageError:
            raise
        except Exception as error:  # a user's embedder may raise anything
            reason = f"the embedder {identity.name} failed: {type(error).__name__}: {error}"
            raise EmbeddingUnavailable(reason) from error
        if np.shape(vectors) != (len(texts), identity.dimension):
            raise EmbeddingError(
                f"the embedder {identity.name} returned an array of shape {np.shape(vectors)} for {len(texts)} texts, "
                f"but its identity promises {identity.dimension} dimensions"
            )
        return vectors

    async def ping(self) -> None:
        """See :meth:`Embedder.ping`."""
        await self._embedder.ping()
