"""Conditions as values: what each takes, what is bounded, and what they mean."""

import math
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from support import conditions as drawn
from support.conditions import Fact, led_to, matches

from app.domain.condition_values import FIELDS, MAX_KEYS, MAX_TEXT_CHARS
from app.domain.conditions import (
    MAX_DEPTH,
    MAX_KEYS_TOGETHER,
    MAX_TERMS,
    And,
    Compare,
    Condition,
    Contains,
    Exists,
    Field,
    In,
    InData,
    InMetadata,
    Not,
    Op,
    Or,
    Path,
    Starts,
    leaves,
)
from app.errors import InvalidField

A = InData(("a",))
RUN = str(UUID(int=0xABC))


def refused(make: Callable[[], object]) -> str:
    with pytest.raises(InvalidField) as caught:
        make()
    assert caught.value.field == "where"
    return caught.value.reason


class TestPaths:
    def test_a_field_has_a_known_name(self) -> None:
        assert [Field(name).name for name in FIELDS] == list(FIELDS)
        reason = refused(lambda: Field("confidnce"))
        assert reason.startswith("a fact has no field 'confidnce'; did you mean 'confidence'? There are type, ")
        assert refused(lambda: Field("x" * 1_000_000)).endswith("changed, run, indexed")

    @pytest.mark.parametrize("root", [InData, InMetadata])
    def test_keys_are_in_nfc(self, root: type[InData | InMetadata]) -> None:
        assert root(("cafe\u0301", "")).keys == ("caf\u00e9", "")

    @pytest.mark.parametrize(
        ("keys", "reason"),
        [
            ((), "a path is one or more keys"),
            ("abc", "a path is one or more keys, not the text 'abc'"),
            (("a", 1), "a key is a text, not the number 1"),
            (("a\0b",), r"a key contains the character U\+0000"),
            (("\ud800",), "a key contains half a surrogate pair"),
            (("a",) * (MAX_KEYS + 1), "a path has at most 64 keys, not 65"),
            (("a" * (MAX_TEXT_CHARS + 1),), "a key has 10,001 characters; at most 10,000"),
            (("e" + "\u0301" * 2_000,), "more than 1,000 combining characters"),
        ],
    )
    def test_keys_that_no_fact_has_are_refused(self, keys: Any, reason: str) -> None:
        for root in (InData, InMetadata):
            with pytest.raises(InvalidField, match=reason):
                root(keys)

    def test_the_longest_path_passes(self) -> None:
        keys = ("a" * MAX_TEXT_CHARS,) * MAX_KEYS
        assert InData(keys).keys == keys


class TestValues:
    @pytest.mark.parametrize(
        "value", ["", "x" * MAX_TEXT_CHARS, 0, -(2**63), 2**63 - 1, 1.5, 1e300, True, False, None]
    )
    def test_a_value_stays_what_it_is(self, value: Any) -> None:
        for found in (Compare(A, Op.EQ, value).value, In(A, (value,)).values[0], Contains(A, value).value):
            assert found == value
            assert type(found) is type(value)

    def test_texts_are_in_nfc(self) -> None:
        assert Compare(A, Op.EQ, "e\u0301").value == Starts(A, "e\u0301").text == "\u00e9"
        assert Contains(A, "e\u0301" * MAX_TEXT_CHARS).value == "\u00e9" * MAX_TEXT_CHARS

    @pytest.mark.parametrize(
        ("given", "instant"),
        [
            (date(2025, 1, 31), datetime(2025, 1, 31, tzinfo=UTC)),
            (datetime(2025, 1, 31, 8, 30), datetime(2025, 1, 31, 8, 30, tzinfo=UTC)),  # noqa: DTZ001 - is meant
            (
                datetime(2025, 1, 31, 8, 30, tzinfo=timezone(timedelta(hours=2))),
                datetime(2025, 1, 31, 6, 30, tzinfo=UTC),
            ),
        ],
    )
    def test_times_are_in_utc(self, given: Any, instant: datetime) -> None:
        found = Compare(A, Op.GE, given).value
        assert isinstance(found, datetime)
        assert found == instant
        assert found.tzinfo is UTC

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (math.nan, "a number is finite, not nan"),
            (-math.inf, "a number is finite, not -inf"),
            (2**63, "at most 64 bits"),
            (-(2**63) - 1, "at most 64 bits"),
            ("a" * 1_000_000, "a text has 1,000,000 characters; at most 10,000 are allowed"),
            ("a\0", r"U\+0000"),
            ("\udfff", "half a surrogate pair"),
            ([1], "a value is a text, a number, true, false, null or a time, not a list"),
            ({}, "not an object"),
            (b"x", "not a bytes"),
            (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "outside the years 1 to 9999"),
        ],
    )
    def test_what_no_fact_holds_is_refused(self, value: Any, reason: str) -> None:
        for make in (
            lambda: Compare(A, Op.EQ, value),
            lambda: In(A, ("x", value)),
            lambda: Contains(A, value),
        ):
            with pytest.raises(InvalidField, match=reason):
                make()

    def test_an_integer_that_python_wont_write_is_refused(self) -> None:
        assert "at most 64 bits" in refused(lambda: Compare(A, Op.EQ, 10**5_000))
        assert "an integer of more than 64 bits" in refused(lambda: Starts(A, 10**5_000))  # type: ignore[arg-type]  # the mistake

    @pytest.mark.parametrize("value", [5, None, True, ["x"], "x" * 10_001])
    def test_a_start_is_a_text(self, value: Any) -> None:
        assert "what a text starts with" in refused(lambda: Starts(A, value))

    @pytest.mark.parametrize("op", [Op.LT, Op.LE, Op.GT, Op.GE])
    @pytest.mark.parametrize(("value", "name"), [(None, "null"), (True, "true"), (False, "false")])
    def test_what_has_no_order_is_compared_by_equality_alone(self, op: Op, value: Any, name: str) -> None:
        assert refused(lambda: Compare(A, op, value)).endswith(f"numbers and times, and {name} is none of them")

    def test_an_operator_is_a_known_one(self) -> None:
        assert Compare(A, ">=", 1).op is Op.GE  # type: ignore[arg-type]  # its text will do
        assert "no comparison '~'" in refused(lambda: Compare(A, "~", 1))  # type: ignore[arg-type]  # the mistake

    @pytest.mark.parametrize("values", [(), [], "abc", None])
    def test_in_takes_some_values(self, values: Any) -> None:
        assert refused(lambda: In(A, values)) == "in takes one or more values"

    @pytest.mark.parametrize("where", ["a", ("a",), None])
    def test_a_leaf_looks_at_a_path(self, where: Any) -> None:
        for make in (
            lambda: Compare(where, Op.EQ, 1),
            lambda: In(where, (1,)),
            lambda: Contains(where, 1),
            lambda: Exists(where),
            lambda: Starts(where, ""),
        ):
            assert "looks at a field or a path" in refused(make)


class TestFields:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("type", "x"),
            ("group", ""),
            ("source", "file:a"),
            ("confidence", 1),
            ("confidence", 0.5),
            ("created", datetime(2025, 1, 1, tzinfo=UTC)),
            ("changed", datetime(2025, 1, 1, tzinfo=UTC)),
            ("run", RUN),
            ("indexed", True),
        ],
    )
    def test_each_is_compared_with_what_it_holds(self, name: str, value: Any) -> None:
        assert Compare(Field(name), Op.NE, value).value == value
        assert In(Field(name), (value, value)).values == (value, value)
        for other in (None, "other kind", 5, True, datetime(2025, 1, 1, tzinfo=UTC)):
            if type(other) is not type(value) and not (name == "confidence" and other == 5):
                assert name in refused(lambda: Compare(Field(name), Op.EQ, other))  # noqa: B023 - called at once
                assert name in refused(lambda: In(Field(name), (value, other)))  # noqa: B023 - likewise

    def test_what_is_wrong_is_told_with_the_way_out(self) -> None:
        def reason(name: str, value: Any) -> str:
            return refused(lambda: Compare(Field(name), Op.EQ, value))

        assert reason("type", 5) == "type is a text, and never the number 5; write it in quotes"
        assert (
            reason("created", "2025-01-01")
            == "created is a time, such as 2025-01-31, and never the text '2025-01-01'"
        )
        assert reason("group", None) == "group is never null; write not (group exists) for facts without one"
        assert reason("run", "nightly") == "run is the id of a run, and never the text 'nightly'"
        assert reason("confidence", value=True) == "confidence is a number, and never true"

    def test_the_id_of_a_run_is_taken_in_capitals_too(self) -> None:
        assert Compare(Field("run"), Op.EQ, RUN.upper()).value == RUN

    @pytest.mark.parametrize("name", ["confidence", "created", "changed", "run", "indexed"])
    def test_only_texts_contain_and_start(self, name: str) -> None:
        assert "doesn't contain anything" in refused(lambda: Contains(Field(name), "x"))
        assert "doesn't start with a text" in refused(lambda: Starts(Field(name), "x"))

    def test_a_run_and_a_flag_have_no_order(self) -> None:
        assert "doesn't have an order" in refused(lambda: Compare(Field("run"), Op.LT, RUN))
        assert "true is none of them" in refused(lambda: Compare(Field("indexed"), Op.LT, value=True))

    def test_each_is_there_or_not(self) -> None:
        assert [Exists(Field(name)).where for name in FIELDS] == [Field(name) for name in FIELDS]


class TestBounds:
    def test_so_many_terms_are_allowed(self) -> None:
        leaf = Exists(Field("type"))
        values = In(Field("type"), ("x",) * (MAX_TERMS - 2))
        assert And((leaf, values)).size.terms == MAX_TERMS
        assert Or((leaf,) * MAX_TERMS).size.terms == MAX_TERMS
        assert refused(lambda: Or((leaf,) * (MAX_TERMS + 1))).startswith("has 1,001 terms")
        assert refused(lambda: And((leaf, leaf, values))).startswith("has 1,001 terms")
        assert refused(lambda: In(A, (1,) * MAX_TERMS)).startswith("has 1,001 terms")
        half = Or((leaf,) * 501)
        assert refused(lambda: Or((half, Not(half)))).startswith("has 1,002 terms")

    def test_so_many_keys_are_allowed_together(self) -> None:
        leaf = Exists(InData(("a",) * 50))
        assert And((leaf,) * 20).size.keys == MAX_KEYS_TOGETHER
        assert refused(lambda: And((*((leaf,) * 20), Exists(InMetadata(("a",)))))) == (
            "its paths have 1,001 keys; at most 1,000 are allowed together"
        )

    def test_so_deep_may_it_be_nested(self) -> None:
        found: Condition = Exists(A)
        for _ in range(MAX_DEPTH - 1):
            found = Not(found)
        assert found.size.depth == MAX_DEPTH
        for make in (lambda: Not(found), lambda: And((found, Exists(A))), lambda: Or((Exists(A), found))):
            assert refused(make) == "is nested 33 deep; at most 32 are allowed"

    @pytest.mark.parametrize(
        "parts", [(), (Exists(A),), None, "ab", (Exists(A), "x"), (Exists(A), Field("type"))]
    )
    def test_what_is_joined_is_two_conditions_or_more(self, parts: Any) -> None:
        refused(lambda: And(parts))
        refused(lambda: Or(parts))

    def test_what_is_negated_is_a_condition(self) -> None:
        assert "not a Field" in refused(lambda: Not(Field("type")))  # type: ignore[arg-type]  # the mistake

    @given(drawn.conditions)
    def test_the_size_is_what_is_counted(self, condition: Condition) -> None:
        found = list(leaves(condition))
        values = sum(len(leaf.values) for leaf in found if isinstance(leaf, In))
        keys = sum(0 if isinstance(leaf.where, Field) else len(leaf.where.keys) for leaf in found)
        assert condition.size == (len(found) + values, keys, depth(condition))


def depth(condition: Condition) -> int:
    match condition:
        case And(parts) | Or(parts):
            return 1 + max(map(depth, parts))
        case Not(part):
            return 1 + depth(part)
    return 1


def test_leaves_come_from_left_to_right() -> None:
    a, b, c, d = (Exists(InData((key,))) for key in "abcd")
    assert list(leaves(Or((And((a, Not(Or((b, c))))), d)))) == [a, b, c, d]
    assert list(leaves(a)) == [a]


VARIANTS = {
    "variants": [{"color": "red", "size": 1}, {"color": ["blue", "green"]}, "loose", {"color": None}],
    "tags": ["Indoor plants", "sale", 7],
    "nested": [["in"], []],
    "text": "A Red-wine, 2024 STRASSE_x",
    "n": 1,
    "yes": True,
    "null": None,
    "empty": [],
    "day": "2025-01-01",
    "moment": "2025-01-01T01:00:00+01:00",
    "big": 2**53 + 1,
}


def data(*keys: str) -> Path:
    return InData(keys)


class TestMeaning:
    """Of the reference that other implementations are held to."""

    FACT = Fact(
        VARIANTS, {"page": 3}, "product", None, "file:a/B.pdf", 0.5, runs=(RUN, str(UUID(int=2))), indexed=True
    )

    @pytest.mark.parametrize(
        ("condition", "holds"),
        [
            (Compare(data("n"), Op.EQ, 1.0), True),
            (Compare(data("n"), Op.EQ, value=True), False),
            (Compare(data("yes"), Op.EQ, 1), False),
            (Compare(data("yes"), Op.EQ, value=True), True),
            (Compare(data("yes"), Op.GE, 0), False),
            (Compare(data("n"), Op.EQ, "1"), False),
            (Compare(data("big"), Op.EQ, float(2**53)), False),
            (Compare(data("big"), Op.GT, float(2**53)), True),
            (Compare(data("text"), Op.GT, "A Red"), True),
            (Compare(data("text"), Op.LT, "a"), True),
            (Compare(data("null"), Op.EQ, None), True),
            (Compare(data("absent"), Op.EQ, None), False),
            (Compare(data("absent"), Op.NE, None), True),
            (Compare(data("absent"), Op.NE, 5), True),
            (Compare(data("n"), Op.NE, 1), False),
            (Compare(data("tags"), Op.NE, "sale"), False),
            (Compare(data("tags"), Op.EQ, "sale"), True),
            (Compare(data("tags"), Op.LT, 8), True),
            (Compare(data("variants", "color"), Op.EQ, "red"), True),
            (Compare(data("variants", "color"), Op.EQ, "green"), True),
            (Compare(data("variants", "color"), Op.EQ, None), True),
            (Compare(data("variants", "0"), Op.EQ, "loose"), False),
            (Compare(data("nested"), Op.EQ, "in"), False),
            (Compare(data("day"), Op.EQ, datetime(2025, 1, 1, tzinfo=UTC)), True),
            (Compare(data("moment"), Op.EQ, datetime(2025, 1, 1, tzinfo=UTC)), True),
            (Compare(data("moment"), Op.EQ, "2025-01-01"), False),
            (Compare(data("text"), Op.LT, datetime(2025, 1, 1, tzinfo=UTC)), False),
            (In(data("n"), ("x", 1)), True),
            (In(data("n"), ("1", True)), False),
            (Exists(data("null")), True),
            (Exists(data("empty")), True),
            (Exists(data("empty", "x")), False),
            (Exists(data("text", "x")), False),
            (Starts(data("text"), "A Red"), True),
            (Starts(data("text"), "a red"), False),
            (Starts(data("tags"), "sa"), True),
            (Starts(data("n"), ""), False),
            (Contains(data("tags"), "sale"), True),
            (Contains(data("tags"), 7.0), True),
            (Contains(data("tags"), "indoor"), True),
            (Contains(data("tags"), "door"), False),
            (Contains(data("nested"), "in"), True),
            (Contains(data("n"), 1), False),
            (Contains(data("text"), "red WINE"), True),
            (Contains(data("text"), "wine red"), False),
            (Contains(data("text"), "red 2024"), False),
            (Contains(data("text"), "Straße"), False),
            (Contains(data("text"), "strasse"), True),
            (Contains(data("text"), 2024), False),
            (Contains(data("text"), "-"), False),
            (Compare(InMetadata(("page",)), Op.EQ, 3), True),
            (Compare(data("page"), Op.EQ, 3), False),
            (Compare(Field("type"), Op.EQ, "product"), True),
            (Compare(Field("group"), Op.NE, "x"), True),
            (Exists(Field("group")), False),
            (Exists(Field("run")), True),
            (Compare(Field("run"), Op.EQ, str(UUID(int=2))), True),
            (Compare(Field("confidence"), Op.GT, 0), True),
            (Compare(Field("created"), Op.LE, datetime(2025, 1, 1, tzinfo=UTC)), True),
            (Compare(Field("indexed"), Op.EQ, value=True), True),
            (Contains(Field("source"), "b"), True),
            (And((Exists(data("n")), Exists(data("absent")))), False),
            (Or((Exists(data("n")), Exists(data("absent")))), True),
            (Not(Exists(data("absent"))), True),
        ],
    )
    def test_by_example(self, condition: Condition, holds: bool) -> None:
        assert matches(condition, self.FACT) is holds
        assert matches(Not(condition), self.FACT) is not holds

    @given(drawn.cases())
    def test_any_condition_holds_for_a_fact_or_doesnt(self, case: tuple[Condition, Fact]) -> None:
        condition, fact = case
        assert matches(condition, fact) is not matches(Not(condition), fact)

    @given(drawn.facts)
    def test_drawn_facts_are_as_they_are_stored(self, fact: Fact) -> None:
        for path in map(Field, FIELDS):
            for value in led_to(path, fact):
                assert not isinstance(value, str) or unicodedata.is_normalized("NFC", value)
