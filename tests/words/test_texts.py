"""What of an extraction is found by its words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.words.texts import Said, text_to_index, texts_in

KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=10,
    ),
    max_size=4,
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"employees": 250, "city": "Oslo"}, "work force\ncity\nemployees\nOslo\n250"),
        ({"hasParking": True, "open": False}, "work force\nhas Parking"),
        ({"city": "Oslo", "confidence": 0.9, "_id": "7f3a"}, "work force\ncity\nOslo"),
        ({"a": {"confidence": 1, "b_c": [1.5, None, "x"]}}, "work force\na\nb c\n1.5\nx"),
        ({}, "work force"),
        (
            {"fact_text": "the bread costs 35 euro in the main street", "page": 4},
            "the bread costs 35 euro in the main street\n4",
        ),
    ],
)
def test_keys_say_what_the_values_mean_where_there_is_no_prose(data: dict[str, Any], text: str) -> None:
    assert text_to_index("work_force", data) == text


def test_the_place_of_a_text_leads_to_it() -> None:
    data = {"b": [{"deep": "one"}, "two"], "a": 3, "no": None, "yes": True}
    assert list(texts_in(data)) == [Said(("a",), "3"), Said(("b", 0, "deep"), "one"), Said(("b", 1), "two")]


def test_data_may_be_nested_deeper_than_python_recurses() -> None:
    data: dict[str, Any] = {"x": "bottom"}
    for _ in range(20_000):
        data = {"x": data}
    [said] = texts_in(data)
    assert (len(said.path), said.text) == (20_001, "bottom")


def test_a_long_text_is_taken_whole() -> None:
    text = "word " * 200_000 + "needle"
    assert text_to_index("fact", {"text": text}).endswith("needle")


@given(DATA)
def test_every_place_leads_to_what_is_said(data: dict[str, Any]) -> None:
    for path, text in texts_in(data):
        value: Any = data
        for step in path:
            value = value[step]
        assert text == value if isinstance(value, str) else float(text) == pytest.approx(float(value))
        assert not any(
            step == "confidence" or str(step).startswith("_") for step in path if isinstance(step, str)
        )


@given(DATA)
def test_the_order_of_the_keys_changes_nothing(data: dict[str, Any]) -> None:
    """Equal data must have equal words, however it was sent."""
    assert text_to_index("fact", data) == text_to_index("fact", dict(reversed(data.items())))
