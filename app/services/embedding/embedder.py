"""The interface of embedders."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

HARMLESS_TEXT = "ping"
"""Every embedder takes this text: if it fails, the texts aren't to blame."""


class TextRole(StrEnum):
    """The purpose of an embedding. Some models have a prefix for each; others ignore it."""

    PASSAGE = "passage"
    """A stored text, to be found by queries."""
    QUERY = "query"
    """The text of a search."""


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What made a vector. Vectors are comparable only if all three fields are equal.

    ``version`` changes with everything that changes the vector of a text: the weights, and the
    prefixes of the roles.
    """

    name: str
    version: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.dimension} dimensions)"


class Embedder(Protocol):
    """Makes one vector for each text."""

    @property
    def identity(self) -> EmbedderIdentity:
        """The identity, known without loading a model or asking a server."""

    @property
    def languages(self) -> frozenset[str] | None:
        """The languages that the model was made for, as ISO 639-1 codes; None: any or unknown."""

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        """Embed texts, in order: ``(len(texts), identity.dimension)``, float32, rows of norm 1.

        Takes any number of texts and splits them as needed; an empty sequence gives shape ``(0,
        dimension)``. Passages and queries are comparable: the dot product of their vectors says how
        well a passage answers a query.

        Raises:
            EmbeddingUnavailable: the endpoint didn't answer in time; a retry may help.
            EmbeddingRejected: one of these texts can't be embedded (blank, invalid Unicode, refused
                by the endpoint); the others may be fine.
            EmbeddingError: no text can be embedded with these settings.
        """

    async def ping(self) -> None:
        """Raise unless a text can be embedded now."""
