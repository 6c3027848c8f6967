"""The default embedder: the sum of WordLlama's token vectors. English, offline, in its package."""

import importlib.metadata
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import EmbeddingError, EmbeddingRejected
from app.executor import Lane
from app.services.embedding.batches import TextBatch, batches, normalised
from app.services.embedding.embedder import EmbedderIdentity, TextRole

_DIMENSION = 256
_BATCH_CHARACTERS = 32_768  # bounds a batch's memory: four characters are about a token, and 1 KB
_GATHERED_TOKENS = 32_768  # beyond it, tokens are counted, not gathered: 4 ms and no memory


class WordllamaEmbedder:
    """Embeds on the lane's threads. The model (80 MB, 0.5 s) is loaded there once, on first use."""

    languages = frozenset({"en"})

    def __init__(self, lane: Lane, batch_size: int) -> None:
        self._lane = lane
        self._batch_size = batch_size
        self._loading = threading.Lock()
        self._model: Any = None  # a WordLlamaInference; the package has no types

    @cached_property
    def identity(self) -> EmbedderIdentity:
        """The model, with the package's version, because the weights are part of the package."""
        return EmbedderIdentity("wordllama/l2_supercat", importlib.metadata.version("wordllama"), _DIMENSION)

    async def embed(
        self,
        texts: Sequence[str],
        role: TextRole = TextRole.PASSAGE,  # noqa: ARG002 - both roles are the same here
    ) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`; each batch is a call of the lane."""
        vectors = np.empty((len(texts), _DIMENSION), np.float32)
        for batch in batches(texts, max_texts=self._batch_size, max_characters=_BATCH_CHARACTERS):
            vectors[batch.rows] = await self._lane.run(self._embed, batch)
        return vectors

    async def ping(self) -> None:
        """Load the model if needed, and embed a word."""
        await self.embed(["ping"])

    def _embed(self, batch: TextBatch) -> NDArray[np.float32]:
        model = self._loaded()
        encodings = model.tokenizer.encode_batch_fast(batch.texts, add_special_tokens=False)
        tokens = [encoding.ids for encoding in encodings]
        if not all(tokens):
            raise EmbeddingRejected(f"text {batch.first + tokens.index([])}: the model has no token for it")
        return normalised(_sums(model.embedding, tokens), batch.first)

    def _loaded(self) -> Any:  # noqa: ANN401 - see `_model`
        with self._loading:
            if self._model is None:
                self._model = _load()
            return self._model


def _sums(vocabulary: NDArray[np.float32], tokens: list[list[int]]) -> NDArray[np.float32]:
    """The sum of each text's token vectors, which has the direction of the mean.

    ``WordLlamaInference.embed`` takes the mean, but pads all texts of a batch to the longest: that
    is slower, and takes gigabytes for one long text.
    """
    lengths = np.array([len(ids) for ids in tokens])
    if lengths.sum() > _GATHERED_TOKENS:
        return np.stack([_counted_sum(vocabulary, ids) for ids in tokens])
    flat = np.fromiter(chain.from_iterable(tokens), np.intp)
    return np.add.reduceat(vocabulary.take(flat, axis=0), np.cumsum(lengths) - lengths, axis=0)


def _counted_sum(vocabulary: NDArray[np.float32], ids: list[int]) -> NDArray[np.float32]:
    return np.bincount(ids, minlength=len(vocabulary)).astype(np.float32) @ vocabulary


def _load() -> Any:  # noqa: ANN401 - the package has no types
    # The tokenizer's own threads slow down short batches, and a process that forks after using them
    # gets warnings or hangs.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with _root_logger_untouched():
        import wordllama  # noqa: PLC0415 - half a second

        try:
            # The default looks for the tokenizer outside the package, and then on the network.
            folder = Path(wordllama.__file__).parent
            model = wordllama.WordLlama.load(cache_dir=folder, dim=_DIMENSION, disable_download=True)
        except OSError as error:
            raise EmbeddingError(f"the wordllama package lacks its model; reinstall it: {error}") from error
    model.tokenizer.no_padding()
    # The cache would hold the last 10,000 texts whole, because this tokenizer doesn't split them
    # into words: 30 MB for nothing.
    model.tokenizer.model._resize_cache(0)  # noqa: SLF001 - the package has no public way
    return model


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """Add a root handler, so that ``logging.basicConfig`` in wordllama's import does nothing."""
    placeholder = logging.NullHandler()
    logging.getLogger().addHandler(placeholder)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(placeholder)
