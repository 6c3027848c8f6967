"""Split texts into batches and normalise vectors, for all embedders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import EmbeddingRejected


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Consecutive texts of a call; ``first`` is the index of the first among all texts, from 0.

    The model gets each text with ``prefix`` before it.
    """

    first: int
    texts: list[str]
    prefix: str = ""

    def __str__(self) -> str:
        last = self.first + len(self.texts) - 1
        return f"text {last}" if last == self.first else f"one of texts {self.first} to {last}"

    @property
    def rows(self) -> slice:
        """The rows for the batch's vectors."""
        return slice(self.first, self.first + len(self.texts))


def batches(texts: Sequence[str], *, max_texts: int, max_characters: int, prefix: str = "") -> list[TextBatch]:
    """Split texts in order into batches within both limits.

    Only a batch of one text may have more than ``max_characters``; prefixes don't count.

    Raises:
        EmbeddingRejected: a text is blank or isn't valid Unicode; the error gives its index, and
            doesn't quote it.
    """
    split: list[TextBatch] = []
    room = 0
    for place, text in enumerate(texts):
        _refuse_unusable(text, place)
        room -= len(text)
        if room < 0 or len(split[-1].texts) == max_texts:
            split.append(TextBatch(place, [], prefix))
            room = max_characters - len(text)
        split[-1].texts.append(text)
    return split


def normalised(vectors: NDArray[np.floating], first: int) -> NDArray[np.float32]:
    """Scale each row to norm 1, in float32.

    Raises:
        EmbeddingRejected: a row is zero or not finite; the error gives its text's index, counted
            from ``first``.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # overflows are rejected below
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(norms) & (norms > 0)
    if not usable.all():
        raise EmbeddingRejected(f"text {first + int(usable.argmin())}: its vector is zero or not finite")
    scaled: NDArray[np.float32] = (vectors / norms).astype(np.float32, copy=False)
    return scaled


def _refuse_unusable(text: str, place: int) -> None:
    if not text or text.isspace():
        raise EmbeddingRejected(f"text {place}: it is blank")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EmbeddingRejected(
            f"text {place}: it holds half a surrogate pair, which isn't a character"
        ) from None
