"""What every embedder does to texts before, and to vectors after."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import EmbeddingRejected


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Consecutive texts; ``first`` is the place of the first among all that were asked for, from 0.

    ``prefix`` stands before each when the model gets them.
    """

    first: int
    texts: list[str]
    prefix: str = ""

    def __str__(self) -> str:
        last = self.first + len(self.texts) - 1
        return f"text {last}" if last == self.first else f"one of texts {self.first} to {last}"

    @property
    def rows(self) -> slice:
        """Where the batch's vectors go."""
        return slice(self.first, self.first + len(self.texts))


def batches(texts: Sequence[str], *, max_texts: int, max_characters: int, prefix: str = "") -> list[TextBatch]:
    """Split texts in order. Only a batch of one text may be longer than ``max_characters``, its prefix not counted.

    Raises:
        EmbeddingRejected: a text is blank or isn't valid Unicode; it is named by its place, not
            quoted.
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
    """Each row scaled to norm 1, in float32.

    Raises:
        EmbeddingRejected: a row is zero or not finite; its text is named by its place, counted from
            ``first``.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
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
            f"text {place}: it holds half a surrogate pair, which is no character"
        ) from None
