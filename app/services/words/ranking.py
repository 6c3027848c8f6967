"""Rank extractions by the words of a query with Okapi BM25, computed here for all databases alike.

The formula is from Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond"
(2009), with Lucene's idf, which stays above zero, and a bound on how much a long text loses.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.services.storage.repositories.words import Documents
from app.services.words.encoding import as_counts, as_numbers

K1 = 1.2
B = 0.75

MOST_RELATIVE_LENGTH = 3.0
"""A longer text scores as if it had three times the average length, so its words still count."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """The statistics of a project: its number of extractions, their length, and token frequencies.

    ``frequencies`` says how many of the ``sampled`` extractions have each token. If not all are
    sampled, it lacks rare tokens.
    """

    extractions: int
    mean_length: float
    sampled: int
    frequencies: Mapping[str, int]

    @property
    def is_whole(self) -> bool:
        """Whether all extractions were sampled."""
        return self.sampled >= self.extractions

    def estimate(self, token: str) -> float:
        """How many extractions have the token, estimated from the sample."""
        share = self.frequencies.get(token, 0) / max(1, self.sampled)
        return share * self.extractions


def idf(extractions: int, having: float) -> float:
    """The weight of a token that ``having`` of the extractions contain."""
    return float(np.log1p((extractions - having + 0.5) / (having + 0.5)))


def bm25(documents: Documents, weights: Mapping[str, float], mean_length: float) -> NDArray[np.float64]:
    """Score documents for a query with these token weights; returns shape (documents,)."""
    scores = np.zeros(len(documents))
    if not len(documents) or not weights:
        return scores
    wanted = as_numbers(" ".join(weights))
    order = np.argsort(wanted)
    wanted, worth = wanted[order], np.fromiter(weights.values(), np.float64)[order]
    tokens = as_numbers(" ".join(filter(None, documents.tokens)))
    places = np.minimum(np.searchsorted(wanted, tokens), len(wanted) - 1)
    found = np.flatnonzero(wanted[places] == tokens)
    sizes = np.fromiter(map(len, documents.counts), np.int64, len(documents))
    owners = np.repeat(np.arange(len(documents)), sizes)[found]
    counts = as_counts("".join(documents.counts))[found]
    lengths = np.asarray(documents.lengths, np.float64)[owners]
    relative = np.minimum(lengths / max(mean_length, 1.0), MOST_RELATIVE_LENGTH)
    saturated = counts * (K1 + 1) / (counts + K1 * (1 - B + B * relative))
    np.add.at(scores, owners, saturated * worth[places[found]])
    return scores
