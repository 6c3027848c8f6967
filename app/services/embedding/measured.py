"""An embedder that measures another."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.services.embedding.embedder import Embedder, EmbedderIdentity, TextRole
from app.services.metrics.instruments import Instruments


class MeasuredEmbedder:
    """Reports another embedder's calls to ``instruments``, except cancelled ones."""

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
            vectors = await self._embedder.embed(texts, role)
        except Exception:
            self._instruments.embedding(len(texts), time.monotonic() - started, failed=True)
            raise
        self._instruments.embedding(len(texts), time.monotonic() - started, failed=False)
        return vectors

    async def ping(self) -> None:
        """See :meth:`Embedder.ping`."""
        await self._embedder.ping()
