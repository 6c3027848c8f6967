from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.text import text_of
from app.errors import InvalidInput

FIELDS = ("fact_text", "text", "summary")

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab "),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"text": "second", "fact_text": "first", "summary": "third"}, "first"),
        ({"summary": "third", "text": "second"}, "second"),
        ({"fact_text": "  kept as it stands\n"}, "  kept as it stands\n"),
        ({"fact_text": None, "text": "null is passed over"}, "null is passed over"),
        ({"fact_text": 7, "text": "so is a number"}, "so is a number"),
        ({"fact_text": {"text": "inner"}, "text": "and an object"}, "and an object"),
    ],
)
def test_the_first_field_that_is_a_string(data: dict[str, Any], text: str) -> None:
    assert text_of(data, FIELDS) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"b": "two", "a": "one"}, "one two"),
        ({"name": "Ada", "age": 36, "score": 0.5, "ok": True, "no": False}, "36 Ada false true 0.5"),
        ({"a": None, "b": "kept"}, "kept"),
        ({"b": {"d": 4, "c": [3, "x", {"z": True}]}, "a": 1}, "1 3 x true 4"),
        ({"fact_text": 7}, "7"),
        ({"é": "later", "z": "earlier"}, "earlier later"),
        ({"a": 0}, "0"),
        ({"a": 123456789012345678901234567890}, "123456789012345678901234567890"),
        ({"a": "café 🙂"}, "café 🙂"),
    ],
)
def test_else_all_scalars_in_key_order(data: dict[str, Any], text: str) -> None:
    assert text_of(data, FIELDS) == text


@pytest.mark.parametrize("same", [(1, 1.0), (100, 1e2), (10**22, 1e22), (0, -0.0)])
def test_equal_numbers_are_spelled_alike(same: tuple[int, float]) -> None:
    assert text_of({"n": same[0]}, FIELDS) == text_of({"n": same[1]}, FIELDS)


def test_a_boolean_is_no_number() -> None:
    assert text_of({"n": True}, FIELDS) != text_of({"n": 1}, FIELDS)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0\u2003"])
def test_a_blank_field_is_refused_and_named_and_no_other_is_taken_for_it(blank: str) -> None:
    with pytest.raises(InvalidInput, match="the field 'fact_text' is blank"):
        text_of({"fact_text": blank, "text": "not what was meant"}, FIELDS)


@pytest.mark.parametrize(
    "data", [{}, {"a": None}, {"a": ""}, {"a": [], "b": {}}, {"a": [" ", None], "b": "\n"}]
)
def test_data_without_anything_to_embed_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="the data holds no text, number or boolean to embed"):
        text_of(data, FIELDS)


def test_nesting_deeper_than_python_recurses_is_no_matter() -> None:
    data: dict[str, Any] = {"deep": "down"}
    for _ in range(20_000):
        data = {"a": [data]}
    assert text_of(data, FIELDS) == "down"
    while "a" in data:  # taken apart by hand, since freeing it recurses as well
        data = data["a"].pop()


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from("abcdefgh"), json_values, max_size=8), st.randoms())
def test_the_order_in_which_keys_were_written_is_no_matter(data: dict[str, Any], chance: Any) -> None:
    keys = list(data)
    chance.shuffle(keys)
    assert outcome(data) == outcome({key: data[key] for key in keys})


def outcome(data: dict[str, Any]) -> str:
    try:
        return text_of(data, FIELDS)
    except InvalidInput as error:
        return str(error)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5))
def test_what_comes_out_is_never_blank(data: dict[str, Any]) -> None:
    try:
        text = text_of(data, FIELDS)
    except InvalidInput:
        return
    assert text.strip()
