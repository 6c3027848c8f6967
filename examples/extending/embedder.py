"""An embedder of one's own: texts that share groups of three letters are alike, in any language."""

import zlib
from collections.abc import Sequence

import numpy as np
from dependency_injector import providers
from numpy.typing import NDArray

from app.config import Settings, load_settings
from app.entrypoints.api import serve
from app.executor import Lane
from app.services.embedding.batches import TextBatch, batches, normalised
from app.services.embedding.embedder import EmbedderIdentity, TextRole
from containers import Container, create_container


class TrigramEmbedder:
    """Implements :class:`app.services.embedding.embedder.Embedder`, without a base class."""

    # Stored with the index. Raise the version when the same text would get another vector.
    identity = EmbedderIdentity("trigrams", "1", dimension=512)
    # None: any. Otherwise ISO 639-1 codes, such as frozenset({"en", "de"}): text in other languages
    # is warned of.
    languages: frozenset[str] | None = None

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def embed(
        self,
        texts: Sequence[str],
        role: TextRole = TextRole.PASSAGE,  # noqa: ARG002 - queries and passages are one to it
    ) -> NDArray[np.float32]:
        """One row of norm 1 for each text."""
        vectors = np.empty((len(texts), self.identity.dimension), np.float32)
        # Refuses blank texts, and bounds what is computed at once.
        for batch in batches(texts, max_texts=256, max_characters=100_000):
            # On the lane's threads: what takes time must not run on the event loop.
            vectors[batch.rows] = await self._lane.run(self._embed, batch)
        return vectors

    async def ping(self) -> None:
        """Raise here if no text can be embedded now; there is nothing that could be away."""

    def _embed(self, batch: TextBatch) -> NDArray[np.float32]:
        return normalised(np.stack([self._count(text) for text in batch.texts]), batch.first)

    def _count(self, text: str) -> NDArray[np.float64]:
        padded = f"  {text.casefold()} "
        groups = (padded[start : start + 3] for start in range(len(padded) - 2))
        # CRC-32 and not hash(), which differs from process to process.
        places = [zlib.crc32(group.encode()) % self.identity.dimension for group in groups]
        return np.bincount(places, minlength=self.identity.dimension).astype(np.float64)


def container_with_trigrams(settings: Settings) -> Container:
    """A container in which every part that embeds uses this embedder."""
    container = create_container(settings)
    container.override_providers(
        embedder=providers.ThreadSafeSingleton(TrigramEmbedder, container.embedding_lane)
    )
    return container


def main() -> None:
    """What ``agent-storage serve`` does, with this embedder."""
    settings = load_settings()
    serve(settings, workers=1, container=container_with_trigrams(settings))


if __name__ == "__main__":
    main()
