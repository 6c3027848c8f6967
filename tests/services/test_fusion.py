"""One order of what was found by meaning and by words."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.fusion import STEPS, WORDS_WEIGHT, Side, fuse, fuse_in_steps

UNRELATED = 0.2
SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.0, 1.0), max_size=8)


def side(scores: dict[str, float], certain: set[str] | None = None) -> Side:
    return Side.of(sorted(scores.items(), key=lambda each: -each[1]), certain or ())


def test_ranks_are_counted_from_one() -> None:
    found = Side.of([("a", 0.9), ("b", 0.4)])
    assert {id_: (each.rank, each.score) for id_, each in found.ranked.items()} == {
        "a": (1, 0.9),
        "b": (2, 0.4),
    }


def test_a_score_is_the_weighted_mean_of_both() -> None:
    [(id_, score)] = fuse(side({"a": 0.6}), side({"a": 0.5}), {}, UNRELATED)
    assert id_ == "a"
    assert score == pytest.approx(WORDS_WEIGHT * 0.5 + (1 - WORDS_WEIGHT) * 0.5)


def test_what_only_the_words_have_found_scores_as_the_last_by_meaning_does() -> None:
    fused = dict(fuse(side({"a": 1.0, "b": 0.6}), side({"c": 1.0}), {}, UNRELATED))
    assert fused["c"] == pytest.approx(WORDS_WEIGHT + (1 - WORDS_WEIGHT) * 0.5)
    assert fused["c"] - WORDS_WEIGHT == pytest.approx(fused["b"])


def test_what_only_the_meaning_has_found_scores_by_the_words_that_it_has() -> None:
    fused = dict(fuse(side({"a": 0.6, "b": 0.6}), side({"c": 0.9}), {"b": 0.4}, UNRELATED))
    assert fused["b"] - fused["a"] == pytest.approx(WORDS_WEIGHT * 0.4)


def test_an_identifier_comes_first_however_near_the_others_are() -> None:
    words = side({"code": 0.1, "near": 0.9}, {"code"})
    assert [id_ for id_, _ in fuse(side({"near": 1.0}), words, {}, UNRELATED)] == ["code", "near"]


def test_without_meaning_the_words_alone_decide() -> None:
    fused = fuse(side({}), side({"a": 0.5, "b": 1.0}), {}, 0.0)
    assert [id_ for id_, _ in fused] == ["b", "a"]
    assert [score for _, score in fused] == pytest.approx([WORDS_WEIGHT, WORDS_WEIGHT / 2])


def test_an_embedder_to_which_all_is_alike_leaves_the_order_to_the_words() -> None:
    fused = fuse(side({"a": 1.0, "b": 1.0}), side({"a": 0.1, "b": 0.2}), {}, 1.0)
    assert [id_ for id_, _ in fused] == ["b", "a"]
    assert all(0.0 <= score <= 1.0 for _, score in fused)


@given(SCORES, SCORES, st.sets(st.sampled_from("abcdefgh")), st.floats(-0.2, 0.95))
def test_all_that_was_found_is_there_once_best_first(
    by_meaning: dict[str, float], by_words: dict[str, float], certain: set[str], unrelated: float
) -> None:
    certain &= set(by_words)
    fused = fuse(side(by_meaning), side(by_words, certain), {}, unrelated)
    assert sorted(id_ for id_, _ in fused) == sorted({*by_meaning, *by_words})
    assert all(0.0 <= score <= 1.0 for _, score in fused)
    assert fused == sorted(fused, key=lambda each: (each[0] not in certain, -each[1], each[0]))


@given(SCORES, SCORES)
def test_the_order_in_which_equal_scores_came_changes_nothing(
    by_meaning: dict[str, float], by_words: dict[str, float]
) -> None:
    backwards = side(dict(reversed(by_words.items())))
    forwards = fuse(side(by_meaning), side(by_words), {}, UNRELATED)
    assert forwards == fuse(side(by_meaning), backwards, {}, UNRELATED)


@pytest.mark.parametrize("count", [20, 50, 180, 600, 1_300])
def test_the_order_does_not_depend_on_how_deep_was_looked(count: int) -> None:
    chosen = random.Random(count)  # noqa: S311 - drawn alike each time
    ids = [f"{n:04}" for n in range(count)]
    meaning, words = (side({id_: chosen.random() for id_ in chosen.sample(ids, count * 3 // 4)}) for _ in "mw")
    orders = []
    for depth in STEPS:
        of_meaning, of_words = meaning.first(depth), words.first(depth)
        shares = {id_: each.score for id_, each in words.ranked.items() if id_ in of_meaning.ranked}
        fused = fuse_in_steps(of_meaning, of_words, shares, UNRELATED, depth=depth)
        orders.append([id_ for id_, _ in fused])
    for depth, order in zip(STEPS, orders, strict=True):
        assert order[:depth] == orders[-1][:depth]
    assert sorted(orders[-1]) == sorted({*meaning.ranked, *words.ranked})


def test_few_are_fused_at_once() -> None:
    meaning, words = side({"a": 0.9, "b": 0.4}), side({"b": 1.0, "c": 0.5})
    assert fuse_in_steps(meaning, words, {}, UNRELATED, depth=50) == fuse(meaning, words, {}, UNRELATED)


def test_what_is_better_further_down_comes_before_the_worst_of_the_beginning() -> None:
    words = Side.of([(f"word{n:02}", 0.6) for n in range(80)])
    meaning = Side.of([(f"near{n:02}", UNRELATED) for n in range(80)])
    order = [id_ for id_, _ in fuse_in_steps(meaning, words, {}, UNRELATED, depth=250)]
    assert order[:80] == list(words.ranked)
