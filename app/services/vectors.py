"""Making vectors: texts are embedded and upserted, and one that can't be embedded is told from an endpoint that fails."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.upkeep import Indexed
from app.errors import EmbeddingError, EmbeddingRejected, EmbeddingUnavailable, InvalidVector
from app.services.embedding.embedder import HARMLESS_TEXT, Embedder, TextRole
from app.services.storage.qdrant.ports import Payload
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository

_CUTS = 8
"""How often a text is cut because the endpoint says it is too long. Halved so often, 1/256 of it is left."""


@dataclass(frozen=True, slots=True)
class TextToEmbed:
    """What is embedded for an extraction, and what Qdrant keeps beside the vector to filter by."""

    id: str
    payload: Payload
    text: str
    is_cut: bool = False
    cuts: int = 0
    tried: bool = False

    @property
    def may_be_cut(self) -> bool:
        """Whether a shorter one may be tried."""
        return self.cuts < _CUTS and len(self.text) > 1

    def shortened(self, max_chars: int | None) -> "TextToEmbed":
        """The text, cut where it is longer than that; what would be blank then stays whole, and is refused."""
        beginning = self.text[:max_chars].rstrip()
        if max_chars is None or len(self.text) <= max_chars or not beginning:
            return self
        return replace(self, text=beginning, is_cut=True)

    def cut(self, share: float) -> "TextToEmbed":
        """That share of the text, as the endpoint asked."""
        return replace(self.shortened(max(1, int(len(self.text) * share))), cuts=self.cuts + 1)


class MadeVectors:
    """The ids whose vectors Qdrant has acknowledged, and those that can't have one, with the reason.

    ``payloads`` is what the points were to hold, ``generation`` the index that they were made for.
    """

    def __init__(self, *, rebuilding: int | None) -> None:
        self.rebuilding = rebuilding
        self.generation = 0
        self.payloads: dict[str, Payload] = {}
        self.indexed: list[str] = []
        self.set_aside: dict[str, str] = {}
        self.cut: set[str] = set()

    def counts(self) -> Indexed:
        """How many there are of each."""
        return Indexed(len(self.indexed), len(self.set_aside), len(self.cut.intersection(self.indexed)))


class VectorMaker:
    """Embeds texts and upserts their vectors."""

    def __init__(self, qdrant: QdrantRepository, embedder: Embedder) -> None:
        self._qdrant = qdrant
        self._embedder = embedder

    async def make(self, outcome: MadeVectors, texts: Sequence[TextToEmbed]) -> None:
        """Embed, upsert, and note what became of each; where a batch fails and a harmless text passes, halve it until the one to blame is alone."""
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
        """Return if a failure is the texts', because others pass; if a harmless one fails too, its error is raised.

        An endpoint that limits how much is asked of it may let that one pass, and still faults no
        text.
        """
        if isinstance(error, EmbeddingUnavailable) and error.busy:
            raise error
        if not isinstance(error, EmbeddingRejected):  # which the embedder has made sure of
            await self._embedder.embed([HARMLESS_TEXT])

    async def _embed_blamed(self, outcome: MadeVectors, text: TextToEmbed, error: EmbeddingError) -> None:
        """Set a text aside that can't be embedded; unless it is worth another try, or less of it may be taken."""
        if error.retryable and not text.tried:
            # The endpoint may have been down just until the harmless text. A text that fails
            # between two that pass is to blame.
            await self.make(outcome, [replace(text, tried=True)])
        elif isinstance(error, EmbeddingRejected) and error.fits is not None and text.may_be_cut:
            await self.make(outcome, [text.cut(error.fits)])
        else:
            outcome.set_aside[text.id] = error.reason

    async def _upsert_into(self, outcome: MadeVectors, points: list[EmbeddingItem]) -> None:
        """Upsert; a vector that can't be stored is set aside, and the others go on."""
        while points:
            try:
                outcome.indexed += await self._qdrant.upsert_batch(points)
            except InvalidVector as error:
                poison = points.pop(error.index)
                outcome.set_aside[str(poison.extraction_id)] = f"its vector {error.reason}"
            else:
                return
