"""Terms as the databases hold them: tokens of eight characters, the same on each, and apart for each project.

Full-text engines split what they are given by rules of their own, and no two by the same. So none of them sees a term:
it gets a token, made of the term and its project, that each takes as one word. A search in one project never reads what
others have of the same word.
"""

from base64 import b32encode
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.domain.ids import ProjectId

TOKEN_CHARS = 8
"""40 bits: of ten million terms in a store, one in 100,000 shares its token with another."""

MAX_TERMS = 50_000
"""How many distinct terms of an extraction are kept at most: PostgreSQL takes 1 MiB of them, and 65,000 tokens are that."""

_COUNTS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""A term that occurs more often counts as if it occurred 35 times, which BM25 hardly tells from more."""

_REMEMBERED = 200_000

Tokens = NDArray[np.uint64]
"""Tokens as numbers: their eight characters' bytes."""


class EncodedWords(NamedTuple):
    """The words of one extraction. ``tokens`` are joined by spaces and sorted, ``counts`` has a character for each."""

    tokens: str
    counts: str
    length: int
    left_out: int


class TokenEncoder:
    """Makes tokens, and remembers those it has made lately. Thread-safe."""

    def __init__(self) -> None:
        self._of_projects: dict[ProjectId, dict[str, str]] = {}
        self._remembered = 0

    def encode(self, project_id: ProjectId, terms: Mapping[str, int], length: int) -> EncodedWords:
        """The words of an extraction of the project, given how often each term occurs; the first 50,000 are kept."""
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
    """Joined tokens, as numbers."""
    if not tokens:
        return np.empty(0, np.uint64)
    characters = np.frombuffer(f"{tokens} ".encode(), np.uint8).reshape(-1, TOKEN_CHARS + 1)
    return np.ascontiguousarray(characters[:, :TOKEN_CHARS]).view(np.uint64).ravel()


def as_counts(counts: str) -> NDArray[np.float64]:
    """The characters of ``counts``, as numbers."""
    return _COUNT_OF[np.frombuffer(counts.encode(), np.uint8)]


_COUNT_OF = np.zeros(128)
_COUNT_OF[np.frombuffer(_COUNTS.encode(), np.uint8)] = np.arange(len(_COUNTS))
