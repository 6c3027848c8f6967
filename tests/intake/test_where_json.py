"""Conditions as JSON: what is read and written, and how mistakes are told."""

import math
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import conditions as drawn

from app.domain.conditions import (
    MAX_DEPTH,
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
    Starts,
)
from app.errors import InvalidField
from app.intake.where_json import parse_where_json, write_where_json

A = InData(("a",))
LEAF = {"path": "a", "op": "=", "value": 1}

BOTH_WAYS: list[tuple[Condition, dict[str, Any]]] = [
    (Compare(InData(("price", "amount")), Op.GE, 100), {"path": "price.amount", "op": ">=", "value": 100}),
    (Compare(Field("type"), Op.NE, "x"), {"path": "type", "op": "!=", "value": "x"}),
    (Compare(InData(("type",)), Op.EQ, None), {"path": "data.type", "op": "=", "value": None}),
    (Compare(InData(("b.c",)), Op.EQ, value=True), {"path": '"b.c"', "op": "=", "value": True}),
    (In(InMetadata(("p",)), (1, 1.0, "1")), {"path": "metadata.p", "op": "in", "values": [1, 1.0, "1"]}),
    (Contains(A, 7), {"path": "a", "op": "contains", "value": 7}),
    (Starts(A, "XR"), {"path": "a", "op": "starts", "value": "XR"}),
    (Exists(A), {"path": "a", "op": "exists"}),
    (
        Compare(A, Op.LT, datetime(2025, 1, 31, tzinfo=UTC)),
        {"path": "a", "op": "<", "value": {"time": "2025-01-31"}},
    ),
    (Compare(A, Op.LT, "2025-01-31"), {"path": "a", "op": "<", "value": "2025-01-31"}),
    (
        Or((And((Exists(A), Exists(A))), Not(Exists(A)))),
        {"or": [{"and": [{"path": "a", "op": "exists"}] * 2}, {"not": {"path": "a", "op": "exists"}}]},
    ),
]


@pytest.mark.parametrize(("condition", "value"), BOTH_WAYS)
def test_by_example(condition: Condition, value: dict[str, Any]) -> None:
    assert repr(parse_where_json(value)) == repr(condition)
    assert write_where_json(condition) == value


def test_one_condition_may_be_joined_with_nothing() -> None:
    assert parse_where_json({"and": [{"or": [LEAF]}]}) == Compare(A, Op.EQ, 1)


@given(drawn.conditions)
def test_what_is_written_is_read_back(condition: Condition) -> None:
    written = orjson.loads(orjson.dumps(write_where_json(condition)))
    assert repr(parse_where_json(written)) == repr(condition)


names = st.sampled_from(["and", "or", "not", "path", "op", "value", "values", "time", "in", "=", "a"])


@given(
    st.recursive(
        drawn.scalars | names,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_json_is_a_condition_or_refused_at_a_place(value: Any) -> None:
    found = read_or_refused(value)
    if isinstance(found, InvalidField):
        assert found.field.startswith("where")
    else:
        assert repr(parse_where_json(write_where_json(found))) == repr(found)


def read_or_refused(value: Any) -> Condition | InvalidField:
    try:
        return parse_where_json(value)
    except InvalidField as error:
        return error


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        (
            None,
            "where",
            'a condition is an object, such as {"path": "price.amount", "op": ">=", "value": 100}, not null',
        ),
        ("a = 1", "where", "not the text 'a = 1'"),
        ([LEAF], "where", "not a list"),
        ({}, "where.path", "missing"),
        ({"path": "a"}, "where.op", "missing"),
        ({"path": "a", "op": "="}, "where.value", "missing"),
        ({"path": "a", "op": "in", "value": 1}, "where.value", "doesn't go with in, which takes 'values'"),
        ({"path": "a", "op": "in"}, "where.values", "missing"),
        (
            {"path": "a", "op": "exists", "value": 1},
            "where.value",
            "doesn't go with exists, which takes no value",
        ),
        ({"path": "a", "op": "=", "values": [1]}, "where.values", "doesn't go with =, which takes 'value'"),
        ({**LEAF, "valeu": 1}, "where.valeu", "is unknown; did you mean 'value'?"),
        ({"And": [LEAF]}, "where.And", "is unknown; did you mean 'and'?"),
        ({"and": [LEAF], "or": [LEAF]}, "where", "has 'and' and 'or'; write them as two conditions"),
        ({"not": LEAF, "path": "a"}, "where", "has 'not' and 'path'"),
        ({"and": LEAF}, "where.and", "must be a list of conditions, not an object"),
        ({"and": []}, "where.and", "takes 1 to 1,000 conditions, not 0"),
        ({"or": [LEAF] * 1_001}, "where.or", "takes 1 to 1,000 conditions, not 1,001"),
        ({"and": [LEAF, LEAF, {**LEAF, "op": "=="}]}, "where.and[2].op", "no operator '=='; did you mean '='?"),
        (
            {"or": [LEAF, {"not": {**LEAF, "op": "IN"}}]},
            "where.or[1].not.op",
            "no operator 'IN'; did you mean 'in'?",
        ),
        ({**LEAF, "op": 5}, "where.op", 'must be a string, such as ">=", not the number 5'),
        ({**LEAF, "path": 5}, "where.path", 'must be a string, such as "price.amount", not the number 5'),
        ({**LEAF, "path": ["a"]}, "where.path", "not a list"),
        ({**LEAF, "path": "a..b"}, "where.path", "at character 3, near 'a..b': expected a key, not '.b'"),
        ({**LEAF, "path": "a b"}, "where.path", "expected the end of the path, not 'b'"),
        ({**LEAF, "path": "a = 1"}, "where.path", "expected the end of the path, not '='"),
        ({**LEAF, "path": "data"}, "where.path", "data needs a key after it"),
        (
            {**LEAF, "value": [1]},
            "where.value",
            "takes no list; write one condition for each, or in with values",
        ),
        ({**LEAF, "value": {"a": 1}}, "where.value", "must be no object except a time"),
        ({**LEAF, "value": {"time": "2025-02-30"}}, "where.value", 'such as {"time": "2025-01-31T08:30:00Z"}'),
        ({**LEAF, "value": {"time": 5}}, "where.value", "must be no object except a time"),
        ({**LEAF, "value": {"time": "2025-01-01", "x": 1}}, "where.value", "must be no object except a time"),
        ({**LEAF, "value": math.nan}, "where.value", "a number is finite, not nan"),
        ({**LEAF, "value": 2**63}, "where.value", "at most 64 bits"),
        ({**LEAF, "value": "x" * 1_000_000}, "where.value", "a text has 1,000,000 characters"),
        ({**LEAF, "value": b"x"}, "where.value", "not a bytes"),
        ({"path": "a", "op": "in", "values": 1}, "where.values", "must be a list of values, not the number 1"),
        ({"path": "a", "op": "in", "values": []}, "where.values", "takes 1 to 1,000 values, not 0"),
        ({"path": "a", "op": "in", "values": [1, [2]]}, "where.values[1]", "takes no list"),
        (
            {"path": "type", "op": "in", "values": ["x", 5]},
            "where.values[1]",
            "type is a text, and never the number 5",
        ),
        ({"path": "a", "op": "in", "values": [1, math.inf]}, "where.values[1]", "a number is finite"),
        ({"path": "created", "op": ">", "value": "2025-01-01"}, "where.value", "created is a time"),
        (
            {"path": "a", "op": "starts", "value": 5},
            "where.value",
            "what a text starts with is a text, not the number 5",
        ),
        ({"path": "run", "op": "<", "value": 5}, "where.value", "run is the id of a run"),
    ],
)
def test_a_mistake_is_told_with_its_place(value: Any, place: str, reason: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_where_json(value)
    assert reason in caught.value.reason
    assert caught.value.field == place
    assert len(str(caught.value)) < 500


class TestBounds:
    def test_the_terms(self) -> None:
        leaf = {"path": "type", "op": "exists"}
        assert parse_where_json({"or": [leaf] * MAX_TERMS}).size.terms == MAX_TERMS
        with pytest.raises(InvalidField, match="has 1,002 terms") as caught:
            parse_where_json({"not": {"or": [{"and": [leaf] * 501}] * 2}})
        assert caught.value.field == "where.not"

    def test_the_depth(self) -> None:
        def nested(times: int) -> dict[str, Any]:
            value: dict[str, Any] = LEAF
            for _ in range(times):
                value = {"not": value}
            return value

        assert parse_where_json(nested(MAX_DEPTH - 1)).size.depth == MAX_DEPTH
        for times in (MAX_DEPTH, 100_000):
            with pytest.raises(InvalidField, match="is nested more than 32 deep") as caught:
                parse_where_json(nested(times))
            assert caught.value.field.endswith(".not.not")

    @pytest.mark.parametrize("place", ["path", "op", "value"])
    def test_what_is_nested_deep_in_a_leaf_is_refused(self, place: str) -> None:
        value: Any = 1
        for _ in range(100_000):
            value = [value]
        with pytest.raises(InvalidField):
            parse_where_json({**LEAF, place: value})
