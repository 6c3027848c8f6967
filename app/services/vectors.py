"""Embed texts and upsert vectors, telling a text that can't be embedded from a failing endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.upkeep import Indexed
from app.errors import EmbeddingError, EmbeddingRejected, EmbeddingUnavailable, InvalidVector
from app.services.embedding.cutting import CuttableText
from app.services.embedding.embedder import HARMLESS_TEXT, Embedder, TextRole
from app.services.storage.qdrant.ports import Payload
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository
from app.services.storage.repositories.comparable import ComparableRow
from app.services.storage.repositories.indexable import LabelsRow, WaitingRow


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToEmbed(CuttableText):
    """The text to embed for an extraction, and the payload that Qdrant filters by."""

    id: str
    payload: Payload
    tried: bool = False


class MadeVectors:
    """The ids whose vectors Qdrant acknowledged, and those that can't be embedded, with the reason.

    ``payloads`` are the points' intended payloads, ``generation`` the index they were made for.
    """

    def __init__(self, *, rebuilding: int | None) -> None:
        self.rebuilding = rebuilding
        self.generation = 0
        self.payloads: dict[str, Payload] = {}
        self.indexed: list[str] = []
        self.set_aside: dict[str, str] = {}
        self.cut: set[str] = set()

    def counts(self) -> Indexed:
        """How many texts were indexed, set aside, and cut."""
        return Indexed(len(self.indexed), len(self.set_aside), len(self.cut.intersection(self.indexed)))


class VectorMaker:
    """Embeds texts and upserts their vectors."""

    def __init__(self, qdrant: QdrantRepository, embedder: Embedder) -> None:
        self._qdrant = qdrant
        self._embedder = embedder

    async def make(self, outcome: MadeVectors, texts: Sequence[TextToEmbed]) -> None:
        """Embed and upsert texts, and note the outcome of each.

        If a batch fails but a harmless text passes, the batch is halved until the text to blame is
        alone.
        """
        if not texts:
            return
        try:
            vectors = await self._embedder.embed([each.text for each in texts], TextRole.PASSAGE)
        except EmbeddingError as error:
            await self._require_fault_of_texts(error)
            if len(texts) == 1:
                await self._embed_blamed(outcome, texts[0], error)
                return
            middle = len(texts) // 2
            await self.make(outcome, texts[:middle])
            await self.make(outcome, texts[middle:])
            return
        points = [EmbeddingItem(each.id, row, each.payload) for each, row in zip(texts, vectors, strict=True)]
        outcome.cut.update(each.id for each in texts if each.is_cut)
        await self._upsert_into(outcome, points)

    async def _require_fault_of_texts(self, error: EmbeddingError) -> None:
        """Return if the texts caused a failure; if a harmless text fails too, raise its error.

        A rate limit is always raised: it isn't a text's fault, even if the harmless one passes.
        """
        if isinstance(error, EmbeddingUnavailable) and error.busy:
            raise error
        if not isinstance(error, EmbeddingRejected):  # that one is certainly the texts' fault
            await self._embedder.embed([HARMLESS_TEXT])

    async def _embed_blamed(self, outcome: MadeVectors, text: TextToEmbed, error: EmbeddingError) -> None:
        """Set aside a text that can't be embedded, unless a retry or a shorter text may succeed."""
        if error.retryable and not text.tried:
            # The endpoint may have recovered only just before the harmless text. A text that fails
            # between two that pass is to blame.
            await self.make(outcome, [replace(text, tried=True)])
        elif isinstance(error, EmbeddingRejected) and error.fits is not None and text.may_be_cut:
            await self.make(outcome, [text.cut(error.fits)])
        else:
            outcome.set_aside[text.id] = error.reason

    async def _upsert_into(self, outcome: MadeVectors, points: list[EmbeddingItem]) -> None:
        """Upsert points; set aside a vector that can't be stored, and go on with the others."""
        while points:
            try:
                outcome.indexed += await self._qdrant.upsert_batch(points)
            except InvalidVector as error:
                poison = points.pop(error.index)
                outcome.set_aside[str(poison.extraction_id)] = f"its vector {error.reason}"
            else:
                return


def payload_of(row: LabelsRow | WaitingRow | ComparableRow, generation: int) -> Payload:
    """What Qdrant stores with a vector: the fields to filter by, and the rebuild that made it."""
    return {
        "project_id": row.project_id,
        "source_group": row.source_group,
        "extraction_type": row.extraction_type,
        "confidence": row.confidence,
        "generation": generation,
    }
