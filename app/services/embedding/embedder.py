"""What an embedder promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

HARMLESS_TEXT = "ping"
"""Every embedder takes it: if it fails, the failure isn't a text's."""


class TextRole(StrEnum):
    """What a text is embedded for. Some models are trained with another prefix for each; to the others both are one."""

    PASSAGE = "passage"
    """A text that is stored, and is to be found."""
    QUERY = "query"
    """What a search asks for."""


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What made a vector. Vectors are comparable only if all three are equal.

    ``version`` changes with all that changes a vector of the same text: the weights, and the
    prefixes of the roles.
    """

    name: str
    version: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.dimension} dimensions)"


class Embedder(Protocol):
    """Makes one vector a text."""

    @property
    def identity(self) -> EmbedderIdentity:
        """Known without loading a model or asking a server."""

    @property
    def languages(self) -> frozenset[str] | None:
        """The languages that the model was made for, by their ISO 639-1 codes; None: any, or that isn't known."""

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        """One row a text, in order: shape ``(len(texts), identity.dimension)``, float32, each row of norm 1.

        Takes any number of texts and splits them as it needs; an empty sequence gives shape ``(0,
        dimension)``. Passages and queries are comparable: their vectors' dot product says how well
        a passage answers a query.

        Raises:
            EmbeddingUnavailable: the endpoint didn't answer in time; trying again may help.
            EmbeddingRejected: one of these texts can't be embedded (blank, no valid Unicode,
                refused by the endpoint); the others may be fine.
            EmbeddingError: no text can be embedded as things are configured.
        """

    async def ping(self) -> None:
        """Raise unless a text can be embedded now."""
