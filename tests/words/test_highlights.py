"""Where the words of a query stand."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.words.highlights import MOST_CHARACTERS, highlights, spans_in
from app.words.tokens import query_terms

PLACES = st.text(st.characters(codec="utf-8"), max_size=80)


def terms(query: str, language: str = "en") -> set[str]:
    return {each.term for each in query_terms(query, language)}


def marked(query: str, data: dict[str, Any], language: str = "en") -> dict[str, list[str]]:
    """What is highlighted, as it is written."""
    _, spans = highlights("fact", data, terms(query, language))
    texts = {path: str(data[path]) for path in spans}
    return {path: [texts[path][start:end] for start, end in spans[path]] for path in spans}


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("XR-4471-B", "is XR-4471-B in stock?", ["XR-4471-B"]),
        ("4471", "is XR-4471-B in stock?", ["4471"]),
        ("running", "She runs and ran the run.", ["runs", "run"]),
        ("CAFÉ", "the cafe\u0301 opens at nine and closes at five", ["cafe\u0301"]),
        ("bread", "𝒳𝒳 😀 bread 😀 bread", ["bread", "bread"]),
        ("東京", "日本の東京都に住んでいます", ["東京"]),
        ("absent", "nothing of it is here to be seen", []),
    ],
)
def test_words_are_marked_as_they_are_written(query: str, text: str, found: list[str]) -> None:
    assert marked(query, {"text": text}).get("text", []) == found


def test_a_text_is_named_by_its_path() -> None:
    data = {"a": {"b": ["no word of it", "fresh bread"]}, "n": 4471}
    found, spans = highlights("fact", data, terms("bread 4471"))
    assert spans == {"a.b.1": ((6, 11),), "n": ((0, 4),)}
    assert set(found) <= terms("bread 4471")
    assert found


def test_what_is_no_part_of_the_words_is_not_marked() -> None:
    assert highlights("fact", {"_note": "bread", "confidence": 0.5, "x": "roll"}, terms("bread"))[1] == {}


def test_what_stands_beyond_the_bound_is_not_looked_for() -> None:
    before = "x " * (MOST_CHARACTERS // 2)
    assert marked("bread", {"text": before + "bread"}) == {}
    assert marked("bread", {"a": before, "b": "bread"}) == {}
    assert marked("bread", {"a": before[:-20], "b": "bread"}) == {"b": ["bread"]}


def test_overlapping_words_are_one_place() -> None:
    assert marked("xr-4471-b 4471 b", {"text": "the code is xr-4471-b, as it says"}) == {"text": ["xr-4471-b"]}


@given(PLACES, PLACES)
def test_places_lie_in_the_text_in_order_and_apart(query: str, text: str) -> None:
    spans = spans_in(text, terms(query))
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
