"""Compare embedders on pairs of a query and the text that it should find."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain.pairs import Pair
from app.errors import EmbeddingRejected
from app.executor import Lane
from app.services.embedding.cutting import CuttableText
from app.services.embedding.embedder import Embedder, EmbedderIdentity, TextRole

Progress = Callable[[int], None]
"""Called with the number of texts embedded since the last call."""

_AT_ONCE = 256
_NEVER = np.iinfo(np.intp).max
_MEGABYTE = 2**20
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Compared:
    """The results of one embedder.

    ``hit_1`` and ``hit_10`` are the shares of queries whose text came first, or among the first
    ten, of all texts. ``memory_mb`` is the growth of the process, None if the system doesn't report
    it. ``load_s`` is the time to the first vector.
    """

    identity: EmbedderIdentity
    languages: frozenset[str] | None
    hit_1: float
    hit_10: float
    texts_per_s: float
    load_s: float
    memory_mb: float | None
    queries: int
    texts: int
    cut: int
    """Texts and queries that were cut to what the model takes."""
    refused: int
    """Texts and queries that the model can't embed: the queries miss, the texts aren't found."""


class EmbedderComparison:
    """Ranks all texts by cosine, without an index."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def run(self, embedder: Embedder, pairs: Sequence[Pair], progress: Progress) -> Compared:
        """Embed every text and query once, and rank each query's text.

        Raises:
            EmbeddingUnavailable, EmbeddingError: no text can be embedded now, or with these
                settings.
            ExtraMissing: a package is missing.
        """
        texts = list(dict.fromkeys(pair.text for pair in pairs))
        places = {text: place for place, text in enumerate(texts)}
        wanted = np.array([places[pair.text] for pair in pairs])
        before = _resident_bytes()
        started = time.perf_counter()
        await embedder.ping()
        loaded = time.perf_counter()
        stored = await self._embed(embedder, texts, TextRole.PASSAGE, progress)
        embedded = time.perf_counter()
        asked = await self._embed(embedder, [pair.query for pair in pairs], TextRole.QUERY, progress)
        after = _resident_bytes()
        ranks = await self._ranks(stored.vectors, asked.vectors, wanted)
        return Compared(
            embedder.identity,
            embedder.languages,
            hit_1=float(np.mean(ranks < 1)),
            hit_10=float(np.mean(ranks < 10)),  # noqa: PLR2004 - the field's name has it
            texts_per_s=len(texts) / (embedded - loaded),
            load_s=loaded - started,
            memory_mb=None if before is None or after is None else max(0, after - before) / _MEGABYTE,
            queries=len(pairs),
            texts=len(texts),
            cut=stored.cut + asked.cut,
            refused=stored.refused + asked.refused,
        )

    async def _embed(
        self, embedder: Embedder, texts: Sequence[str], role: TextRole, progress: Progress
    ) -> "_Embedded":
        done = _Embedded(np.zeros((len(texts), embedder.identity.dimension), np.float32))
        for start in range(0, len(texts), _AT_ONCE):
            some = [CuttableText(text) for text in texts[start : start + _AT_ONCE]]
            await _embed_into(done, embedder, start, some, role)
            progress(min(_AT_ONCE, len(texts) - start))
        return done

    async def _ranks(
        self, stored: NDArray[np.float32], asked: NDArray[np.float32], wanted: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """The number of texts that rank before each query's own."""
        ranks = np.empty(len(asked), np.intp)
        for start in range(0, len(asked), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            ranks[part] = await self._lane.run(_ranks_of, stored, asked[part], wanted[part])
        return ranks


@dataclass(slots=True)
class _Embedded:
    """A row for each text. A refused text's row is zero, so its cosine with all others is 0."""

    vectors: NDArray[np.float32]
    cut: int = 0
    refused: int = 0


async def _embed_into(
    done: _Embedded, embedder: Embedder, start: int, texts: Sequence[CuttableText], role: TextRole
) -> None:
    """Embed texts; like indexing, halve a refused batch, and cut a text that is too long."""
    try:
        done.vectors[start : start + len(texts)] = await embedder.embed([each.text for each in texts], role)
    except EmbeddingRejected as error:
        if len(texts) > 1:
            middle = len(texts) // 2
            await _embed_into(done, embedder, start, texts[:middle], role)
            await _embed_into(done, embedder, start + middle, texts[middle:], role)
        elif error.fits is not None and texts[0].may_be_cut:
            await _embed_into(done, embedder, start, [texts[0].cut(error.fits)], role)
        else:
            done.refused += 1
    else:
        done.cut += sum(each.is_cut for each in texts)


def _ranks_of(
    stored: NDArray[np.float32], asked: NDArray[np.float32], wanted: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Rank texts; of equally near texts, the earlier comes first. Refused texts come last."""
    scores = asked @ stored.T
    scores[:, ~stored.any(axis=1)] = -np.inf
    own = scores[np.arange(len(asked)), wanted][:, np.newaxis]
    earlier = np.arange(len(stored)) < wanted[:, np.newaxis]
    ranks: NDArray[np.intp] = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    ranks[~asked.any(axis=1) | np.isneginf(own[:, 0])] = _NEVER
    return ranks


def _resident_bytes() -> int | None:
    """The process's resident memory, including mapped files."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return None
