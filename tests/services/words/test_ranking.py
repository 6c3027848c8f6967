"""BM25 as the textbook has it."""

import math
from collections import Counter
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import ProjectId
from app.services.storage.repositories.words import Documents
from app.services.words.encoding import TokenEncoder
from app.services.words.ranking import K1, MOST_RELATIVE_LENGTH, B, Statistics, bm25, idf

PROJECT = ProjectId(UUID(int=1))
ENCODER = TokenEncoder()
WORDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
TEXTS = st.lists(st.lists(WORDS, max_size=60), min_size=1, max_size=12)


def documents_of(texts: list[list[str]]) -> Documents:
    encoded = [ENCODER.encode(PROJECT, Counter(text), len(text)) for text in texts]
    return Documents(
        [str(place) for place in range(len(texts))],
        [each.length for each in encoded],
        [each.counts for each in encoded],
        [each.tokens for each in encoded],
    )


def weights_of(weights: dict[str, float]) -> dict[str, float]:
    return dict(zip(ENCODER.tokens(PROJECT, weights), weights.values(), strict=True))


def reference(text: list[str], weights: dict[str, float], mean_length: float) -> float:
    score = 0.0
    for word, weight in weights.items():
        count = min(text.count(word), 35)
        relative = min(len(text) / max(mean_length, 1.0), MOST_RELATIVE_LENGTH)
        score += weight * count * (K1 + 1) / (count + K1 * (1 - B + B * relative)) if count else 0.0
    return score


@given(TEXTS, st.dictionaries(st.sampled_from("abcxyz"), st.floats(0.01, 10)))
def test_scores_are_those_of_the_formula(texts: list[list[str]], weights: dict[str, float]) -> None:
    mean = sum(map(len, texts)) / len(texts)
    scores = bm25(documents_of(texts), weights_of(weights), mean)
    assert scores == pytest.approx([reference(text, weights, mean) for text in texts])


@given(TEXTS, st.dictionaries(WORDS, st.floats(0.01, 10), min_size=1))
def test_a_score_is_below_what_is_possible(texts: list[list[str]], weights: dict[str, float]) -> None:
    scores = bm25(documents_of(texts), weights_of(weights), 10.0)
    assert (scores >= 0).all()
    assert (scores <= (K1 + 1) * sum(weights.values()) + 1e-9).all()


@given(TEXTS, st.randoms(use_true_random=False))
def test_each_document_has_its_own_score_wherever_it_stands(texts: list[list[str]], random: object) -> None:
    weights = weights_of({"a": 1.0, "b": 2.5})
    order = list(range(len(texts)))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis has no type for it
    scores = bm25(documents_of(texts), weights, 5.0)
    shuffled = bm25(documents_of([texts[place] for place in order]), weights, 5.0)
    assert shuffled.tolist() == scores[order].tolist()


def test_a_word_deep_in_a_very_long_text_counts_for_something() -> None:
    texts = [["a", *["b"] * 9], ["a", *["b"] * 29], ["a", *["b"] * 99_999]]
    short, long, very_long = bm25(documents_of(texts), weights_of({"a": 1.0}), 10.0)
    assert short > long == very_long > 0.5 * short


def test_a_rare_word_weighs_more_and_none_less_than_nothing() -> None:
    weights = [idf(1_000, having) for having in range(1_001)]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] > 0
    assert idf(1_000, 1) == pytest.approx(math.log(1 + 999.5 / 1.5))


def test_nothing_scores_nothing() -> None:
    assert bm25(documents_of([]), weights_of({"a": 1.0}), 1.0).shape == (0,)
    assert bm25(documents_of([["a"]]), {}, 1.0).tolist() == [0.0]
    assert bm25(documents_of([[], ["a"], []]), weights_of({"a": 1.0}), 0.0).astype(bool).tolist() == [
        False,
        True,
        False,
    ]


def test_a_sample_says_how_many_there_are() -> None:
    sampled = Statistics(10_000, 5.0, 2_000, {"often": 500, "once": 1})
    assert not sampled.is_whole
    assert [sampled.estimate(token) for token in ("often", "once", "never")] == [2_500, 5, 0]
    assert Statistics(3, 5.0, 3, {"x": 2}).estimate("x") == 2
    assert Statistics(0, 0.0, 0, {}).estimate("x") == 0
    assert np.isfinite(idf(0, 0))
