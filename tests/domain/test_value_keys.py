"""A fact that a leaf holds for is found by the leaf's keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import conditions as drawn
from support.conditions import Fact, matches

from app.domain.conditions import (
    Compare,
    Condition,
    Contains,
    Exists,
    In,
    InData,
    InMetadata,
    Op,
    Starts,
    leaves,
)
from app.domain.times import time_of
from app.domain.value_keys import MAX_KEYS_A_FACT, Lookup, between, keys_of, lookups_of, united

AT = InData(("a",))


def finds(lookup: Lookup, keys: set[str]) -> bool:
    return any(key in lookup.keys or any(first <= key <= last for first, last in lookup.spans) for key in keys)


def found(condition: Any, value: Any) -> bool:
    lookups = lookups_of(condition)
    assert lookups
    return all(finds(lookup, keys_of({"a": value}, ["a"])) for lookup in lookups)


@given(drawn.cases())
def test_what_a_leaf_holds_for_is_among_its_keys(case: tuple[Condition, Fact]) -> None:
    condition, fact = case
    for leaf in leaves(condition):
        match leaf.where:
            case InData(keys):
                stored = keys_of(fact.data, keys)
            case InMetadata(keys):
                stored = keys_of(fact.metadata, keys)
            case _:
                continue
        assert len(stored) <= MAX_KEYS_A_FACT + 1
        if matches(leaf, fact):
            assert all(finds(lookup, stored) for lookup in lookups_of(leaf))


NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.integers(-3, 3)
)


@given(NUMBERS, NUMBERS, st.sampled_from([Op.LT, Op.LE, Op.EQ, Op.GE, Op.GT]))
def test_numbers_are_found_by_their_order_exactly(stored: float, wanted: float, op: Op) -> None:
    leaf = Compare(AT, op, wanted)
    if matches(leaf, Fact({"a": stored})):
        assert found(leaf, stored)


@pytest.mark.parametrize(
    ("stored", "above"), [(2**53, 2**53 + 1), (0.1, 0.2), (-2.0, -1.5), (-1, 0.5), (2**63 - 2, 2**63 - 1)]
)
def test_a_number_beside_the_wanted_one_is_not_found(stored: float, above: float) -> None:
    assert not found(Compare(AT, Op.EQ, above), stored)
    assert not found(Compare(AT, Op.GE, above), stored)
    assert not found(Compare(AT, Op.LE, stored), above)


@pytest.mark.parametrize(
    ("leaf", "stored", "other"),
    [
        (Compare(AT, Op.EQ, "XR-44"), "XR-44", "XR-45"),
        (Compare(AT, Op.EQ, None), None, "null"),
        (Compare(AT, Op.EQ, value=True), True, 1),
        (In(AT, ("DE", 5)), 5, "FR"),
        (In(AT, ("DE", 5)), ["x", "DE"], 6),
        (Starts(AT, "XR-44"), "XR-44-1", "XR-5"),
        (Starts(AT, "é"), "école", "f"),
        (Starts(AT, "\U0010ffff"), "\U0010ffff\U0010ffffa", "a"),
        (Starts(AT, "a\ud7ff"), "a\ud7ffb", "a\ue001"),
        (Contains(AT, "indoor"), ["Indoor", "x"], "outdoor"),
        (Contains(AT, "light RED"), "very light red", "red"),
        (Contains(AT, 7), [1, 7], 8),
        (Contains(AT, "--"), ["--"], "-"),
        (Contains(AT, "a"), [["a"]], [["b"]]),
        (Compare(AT, Op.GT, "b"), "c" * 200, "a"),
    ],
)
def test_values_are_told_apart(leaf: Any, stored: Any, other: Any) -> None:
    assert found(leaf, stored)
    assert not found(leaf, other)


def test_times_are_found_whatever_their_spelling() -> None:
    wanted = time_of("2025-01-31T08:30:00Z")
    assert found(Compare(AT, Op.EQ, wanted), "2025-01-31T10:30+02:00")
    assert found(Compare(AT, Op.GT, wanted), "2025-02-01")
    assert not found(Compare(AT, Op.LT, wanted), "2025-02-01")


def test_a_long_text_is_found_by_its_beginning_and_by_any_word() -> None:
    text = " ".join(f"word{number}" for number in range(500))
    assert found(Compare(AT, Op.EQ, text), text)
    assert found(Contains(AT, "word499"), text)
    assert len(keys_of({"a": text}, ["a"])) == 2


def test_a_fact_with_too_many_values_is_found_by_whatever_is_looked_for() -> None:
    values = list(range(MAX_KEYS_A_FACT + 1))
    assert len(keys_of({"a": values}, ["a"])) == 1
    assert found(Compare(AT, Op.EQ, "nothing of it"), values)
    assert found(Starts(AT, "n"), values)


@pytest.mark.parametrize("value", [{"b": 1}, [{"b": 1}], [], {}])
def test_objects_have_no_keys(value: Any) -> None:
    assert keys_of({"a": value}, ["a"]) == set()


def test_what_is_there_is_no_matter_of_keys() -> None:
    assert not lookups_of(Exists(AT))
    assert lookups_of(Compare(AT, Op.LT, "a"))


def lookup(op: Op, value: Any) -> Lookup:
    [found] = lookups_of(Compare(AT, op, value))
    return found


def test_lookups_join() -> None:
    one, other = lookup(Op.EQ, 1), lookup(Op.LT, 5)
    both = united([one, other])
    assert (both.keys, both.spans) == (one.keys | other.keys, other.spans)
    [(first, last)] = united([lookup(Op.LT, 5), lookup(Op.LT, 9), lookup(Op.GT, 2)]).spans
    assert first == "n"
    assert last > max(lookup(Op.EQ, 10**9).keys)


BOUNDS = st.lists(st.tuples(st.sampled_from([Op.LT, Op.LE, Op.GE, Op.GT]), NUMBERS), min_size=2, max_size=4)


@given(BOUNDS, st.one_of(NUMBERS, st.lists(NUMBERS, max_size=3)))
def test_what_lies_between_bounds_is_found(bounds: list[tuple[Op, float]], stored: Any) -> None:
    """Of several values, each bound may hold for another one."""
    found = between([lookup(op, value) for op, value in bounds])
    assert found is not None
    if all(matches(Compare(AT, op, value), Fact({"a": stored})) for op, value in bounds):
        assert finds(found, keys_of({"a": stored}, ["a"]))


def test_what_lies_beside_bounds_is_not_found() -> None:
    found = between([lookup(Op.GE, 30), lookup(Op.LT, 40)])
    assert found is not None
    assert [finds(found, keys_of({"a": value}, ["a"])) for value in (29, 30, 39, 41)] == [
        False,
        True,
        True,
        False,
    ]
    assert between([lookup(Op.GE, 50), lookup(Op.LT, 40)]) == Lookup(frozenset({"!", "+"}))
    assert between([lookup(Op.GE, 50), lookup(Op.LT, "a")]) is None
    assert between([lookup(Op.GE, 50), lookup(Op.EQ, 60)]) is None


def test_each_of_several_words_is_a_way() -> None:
    assert len(lookups_of(Contains(AT, "some of the words"))) == 3
