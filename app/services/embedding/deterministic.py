"""An embedder without a model, for tests and trials: the same words always give the same vector."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.executor import Lane
from app.services.embedding.batches import TextBatch, batches, normalised
from app.services.embedding.embedder import EmbedderIdentity, TextRole


class DeterministicEmbedder:
    """Sums a direction for each word, from its hash; texts that share words are closer."""

    languages: frozenset[str] | None = None

    def __init__(self, lane: Lane, dimension: int) -> None:
        self.identity = EmbedderIdentity("deterministic", "1", dimension)
        self._lane = lane

    async def embed(
        self,
        texts: Sequence[str],
        role: TextRole = TextRole.PASSAGE,  # noqa: ARG002 - both roles are the same here
    ) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`."""
        vectors = np.empty((len(texts), self.identity.dimension), np.float32)
        for batch in batches(texts, max_texts=256, max_characters=32_768):
            vectors[batch.rows] = await self._lane.run(self._embed, batch)
        return vectors

    async def ping(self) -> None:
        """Never raises."""

    def _embed(self, batch: TextBatch) -> NDArray[np.float32]:
        return normalised(np.stack([self._sum(text) for text in batch.texts]), batch.first)

    def _sum(self, text: str) -> NDArray[np.float64]:
        directions = [_direction(word, self.identity.dimension) for word in text.casefold().split()]
        total: NDArray[np.float64] = np.sum(directions, axis=0)
        return total


def _direction(word: str, dimension: int) -> NDArray[np.float64]:
    digest = hashlib.shake_256(word.encode()).digest(4 * dimension)
    return np.frombuffer(digest, "<i4") / 2.0**31
