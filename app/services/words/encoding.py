"""Encode terms as tokens of eight characters, the same on every database, separate by project.

Each full-text engine splits text by its own rules. So the engines never see a term, but a token
made from the term and its project, which every engine takes as one word. A search in one project
never reads other projects' entries for the same word.
"""

from base64 import b32encode
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.ids import ProjectId

TOKEN_CHARS = 8
"""40 bits: with ten million terms in a store, one in 100,000 shares its token with another."""

MAX_TERMS = 50_000
"""The most distinct terms kept of an extraction: PostgreSQL's limit of 1 MiB is 65,000 tokens."""

_COUNTS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""Counts above 35 are stored as 35, which BM25 hardly distinguishes."""

_REMEMBERED = 200_000

Tokens = NDArray[np.uint64]
"""Tokens as numbers: the bytes of their eight characters."""


class EncodedWords(NamedTuple):
    """An extraction's words: sorted ``tokens`` joined by spaces, each with a ``counts`` digit."""

    tokens: str
    counts: str
    length: int
    left_out: int


class TokenEncoder:
    """Makes tokens, and caches recent ones. Thread-safe."""

    def __init__(self) -> None:
        self._of_projects: dict[ProjectId, dict[str, str]] = {}
        self._remembered = 0

    def encode(self, project_id: ProjectId, terms: Mapping[str, int], length: int) -> EncodedWords:
        """Encode an extraction's words from the counts of its terms; keeps the first 50,000."""
        left_out = max(0, len(terms) - MAX_TERMS)
        if left_out:
            terms = dict(list(terms.items())[:MAX_TERMS])
        counts = dict(zip(self.tokens(project_id, terms), terms.values(), strict=True))
        tokens = sorted(counts)
        most = len(_COUNTS) - 1
        try:
            spelled = "".join([_COUNTS[counts[token]] for token in tokens])
        except IndexError:
            spelled = "".join([_COUNTS[min(counts[token], most)] for token in tokens])
        return EncodedWords(" ".join(tokens), spelled, length, left_out)

    def tokens(self, project_id: ProjectId, terms: Iterable[str]) -> list[str]:
        """The token of each term in the project."""
        known = self._known(project_id)
        try:
            return [known[term] for term in terms]
        except KeyError:
            return [known.get(term) or self._remember(known, project_id, term) for term in terms]

    def _known(self, project_id: ProjectId) -> dict[str, str]:
        if self._remembered > _REMEMBERED:
            self._of_projects, self._remembered = {}, 0
        return self._of_projects.setdefault(project_id, {})

    def _remember(self, known: dict[str, str], project_id: ProjectId, term: str) -> str:
        digest = blake2b(term.encode(), digest_size=5, key=project_id.bytes).digest()
        known[term] = token = b32encode(digest).decode().lower()
        self._remembered += 1
        return token


def as_numbers(tokens: str) -> Tokens:
    """Convert joined tokens to numbers."""
    if not tokens:
        return np.empty(0, np.uint64)
    characters = np.frombuffer(f"{tokens} ".encode(), np.uint8).reshape(-1, TOKEN_CHARS + 1)
    return np.ascontiguousarray(characters[:, :TOKEN_CHARS]).view(np.uint64).ravel()


def as_counts(counts: str) -> NDArray[np.float64]:
    """Convert the characters of ``counts`` to numbers."""
    return _COUNT_OF[np.frombuffer(counts.encode(), np.uint8)]


_COUNT_OF = np.zeros(128)
_COUNT_OF[np.frombuffer(_COUNTS.encode(), np.uint8)] = np.arange(len(_COUNTS))
