"""A static model2vec model in a folder: the sum of token vectors. It never downloads anything."""

import hashlib
import importlib.util
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import EmbeddingError, EmbeddingRejected, ExtraMissing
from app.executor import Lane
from app.services.embedding.batches import TextBatch, batches, normalised
from app.services.embedding.embedder import EmbedderIdentity, TextRole

if TYPE_CHECKING:
    from model2vec import StaticModel

_BATCH_CHARACTERS = 32_768
_GATHERED_TOKENS = 32_768  # bounds the memory of a long text's sum
_WEIGHTS = ("model.safetensors", "0_StaticEmbedding/model.safetensors")
_TENSORS = ("embeddings", "embedding.weight")
_HEADER_BYTES = 8
_LONGEST_HEADER = 1_000_000


class Model2VecEmbedder:
    """Embeds on the lane's threads. The model is loaded there once, on first use.

    Its prefixes and languages aren't known: the folder doesn't say.
    """

    languages: frozenset[str] | None = None

    def __init__(self, lane: Lane, path: str, *, batch_size: int, dimension: int | None = None) -> None:
        """``dimension``, if given, must be the model's."""
        self._lane = lane
        self._folder = Path(path)
        self._batch_size = batch_size
        self._dimension = dimension
        self._loading = threading.Lock()
        self._model: StaticModel | None = None

    @cached_property
    def identity(self) -> EmbedderIdentity:
        """The folder's name, a hash of the model's files (0.1 s for 100 MB), and their dimension.

        Raises:
            ExtraMissing: the package isn't installed.
            EmbeddingError: the folder doesn't exist, or has no model or one of another dimension.
        """
        if importlib.util.find_spec("model2vec") is None:
            raise _missing()
        files = _files_in(self._folder)
        if self._dimension not in {None, files.dimension}:
            raise EmbeddingError(
                f"embedding.dimension is {self._dimension}, and the model in {self._folder} has {files.dimension}; "
                "set it to that or to null"
            )
        return EmbedderIdentity(f"model2vec/{self._folder.resolve().name}", files.fingerprint, files.dimension)

    async def embed(
        self,
        texts: Sequence[str],
        role: TextRole = TextRole.PASSAGE,  # noqa: ARG002 - both roles are the same here
    ) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`; each batch is a call of the lane. No text is cut."""
        vectors = np.empty((len(texts), self.identity.dimension), np.float32)
        for batch in batches(texts, max_texts=self._batch_size, max_characters=_BATCH_CHARACTERS):
            vectors[batch.rows] = await self._lane.run(self._embed, batch)
        return vectors

    async def ping(self) -> None:
        """Load the model if needed, which checks it."""
        await self._lane.run(self._loaded)

    def _embed(self, batch: TextBatch) -> NDArray[np.float32]:
        model = self._loaded()
        # Not `encode`, which changes the tokenizer: a call on another thread would fail with
        # "Already borrowed".
        tokens = model.tokenize(batch.texts)
        if not all(tokens):
            raise EmbeddingRejected(f"text {batch.first + tokens.index([])}: the model has no token for it")
        return normalised(np.stack([_sum(model, ids) for ids in tokens]), batch.first)

    def _loaded(self) -> "StaticModel":
        with self._loading:
            if self._model is None:
                self._model = _load(self._folder)
            return self._model


@dataclass(frozen=True, slots=True)
class _Files:
    fingerprint: str
    dimension: int


def _files_in(folder: Path) -> _Files:
    if not folder.is_dir():
        raise EmbeddingError(
            f"embedding.path must be the folder of a model2vec model, and {folder} isn't a folder; nothing is "
            "downloaded, so put the model there first"
        )
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise EmbeddingError(
            f"embedding.path: {folder} has no model.safetensors, so it isn't a model2vec model"
        )
    digest = hashlib.sha256()
    try:
        # The tokenizer is hashed too: other tokens give other vectors.
        for file in (weights, weights.parent / "tokenizer.json"):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return _Files(digest.hexdigest()[:16], _dimension_of(weights))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _unusable(folder, error) from error


def _dimension_of(weights: Path) -> int:
    """Read the dimension from the file's header: eight bytes of length, then JSON."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_BYTES), "little")
        if length > _LONGEST_HEADER:
            raise ValueError("model.safetensors isn't a file of tensors")
        header = orjson.loads(file.read(length))
    shapes = [header[name]["shape"] for name in _TENSORS if name in header]
    return int(shapes[0][1])


def _load(folder: Path) -> "StaticModel":
    # The tokenizer's own threads slow down short batches, and a process that forks after using them
    # gets warnings or hangs.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from model2vec import StaticModel  # noqa: PLC0415 - slow to import, and only needed for this embedder
    except ImportError:
        raise _missing() from None
    _files_in(folder)  # the package would take a missing path for the name of a model to download
    try:
        model = StaticModel.from_pretrained(folder.resolve(), force_download=False)
        model.tokenizer.no_truncation()  # `max_length=None` would log a warning
    except Exception as error:  # a broken file may raise anything in the package and its readers
        raise _unusable(folder, error) from error
    return model


def _sum(model: "StaticModel", ids: list[int]) -> NDArray[np.float32]:
    """The sum of the tokens' vectors, in the direction of the mean that the package takes."""
    total = np.zeros(model.embedding.shape[1], np.float32)
    for start in range(0, len(ids), _GATHERED_TOKENS):
        tokens = np.asarray(ids[start : start + _GATHERED_TOKENS], np.intp)
        rows = tokens if model.token_mapping is None else model.token_mapping[tokens]
        vectors = model.embedding[rows].astype(np.float32, copy=False)
        total += vectors.sum(axis=0) if model.weights is None else model.weights[tokens] @ vectors
    return total


def _unusable(folder: Path, error: Exception) -> EmbeddingError:
    return EmbeddingError(
        f"embedding.path: the model in {folder} can't be used ({type(error).__name__}: {error})"
    )


def _missing() -> ExtraMissing:
    return ExtraMissing("model2vec", "model2vec", "embedding.provider model2vec")
