"""One extraction has one id, however its JSON is written; two have two."""

import json
import unicodedata
from random import Random
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.examples import examples

from app.domain.ids import ExtractionId, project_id_of
from app.domain.items import extraction_id_of, parse_item
from app.errors import InvalidInput
from app.intake.exact_json import decode

PROJECT = project_id_of("papers")
EXACT = 2**53
"""Up to here every integer is a float, so that it may be written as either."""

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
COMPOSED = st.sampled_from(["é", "e\u0301", "\u212b", "Å", "\u1e9b\u0323", "각", "ﬁ", "q\u0307\u0323"])
TEXTS = st.text(CHARACTERS, max_size=8) | COMPOSED
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
EDGES = st.sampled_from(
    [0, -0.0, 1, EXACT, EXACT + 1, 2**63 - 1, -(2**63), 1e16, 1e22, 2.0**63, 5e-324, 1.8e308, 0.1]
)
SCALARS = st.none() | st.booleans() | NUMBERS | EDGES.filter(lambda number: abs(number) < 1.79e308) | TEXTS


def trees(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[str], leaves: int) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=leaves,
    )


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


DATA = st.dictionaries(TEXTS.map(nfc), trees(SCALARS, TEXTS.map(nfc), 8), max_size=4)


def written(value: Any, chance: Random) -> str:
    """JSON text of the value: in one of the ways in which it can be written."""
    match value:
        case dict():
            members = [f"{written(key, chance)}:{written(value[key], chance)}" for key in value]
            chance.shuffle(members)
            return "{" + ", ".join(members) + "}"
        case list():
            return "[" + ",".join(written(each, chance) for each in value) + "]"
        case str():
            form = unicodedata.normalize(chance.choice(["NFC", "NFD"]), value)
            return json.dumps(form, ensure_ascii=chance.random() < 0.5)
        case int() | float() if not isinstance(value, bool):
            return chance.choice(spellings(value))
    return json.dumps(value)


def spellings(number: float) -> list[str]:
    if isinstance(number, float):
        ways = [repr(number), f"{number:.17g}", f"{number:.25e}", f"{number:.17E}"]
        return [*ways, *spellings(int(number))] if number.is_integer() and abs(number) <= EXACT else ways
    exact = (
        [f"{number}.0", f"{number}e0", f"{number}.000E+0", f"{number * 10}e-1"] if abs(number) <= EXACT else []
    )
    return [str(number), *exact]


def id_of(data: Any, uri: str = "doc:1", kind: str = "fact") -> ExtractionId:
    raw = {"source_uri": uri, "extraction_type": kind, "data": {"fact_text": "x", **data}}
    return extraction_id_of(PROJECT, parse_item(raw, ["fact_text"]))


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(DATA, TEXTS, st.randoms(use_true_random=False))
@example({"n": -0.0, "m": [0, 1, True]}, "é", Random(1))  # noqa: S311 - no secret
def test_an_id_is_the_same_however_its_json_is_written(
    data: dict[str, Any], label: str, chance: Random
) -> None:
    ids = set()
    for _ in range(4):
        given_data, given_label = (
            decode(written(data, chance).encode()),
            json.loads(written("a" + label, chance)),
        )
        ids.add(id_of(given_data, given_label, given_label))
    assert len(ids) == 1


FEW = st.sampled_from(
    [0, -0.0, 1, 1.0, True, False, None, "1", "é", "e\u0301", EXACT, 2.0**53, EXACT + 1, 1e22, ""]
)
FEW_KEYS = st.sampled_from(["a", "b", "", "é", "e\u0301"])
FEW_DATA = st.dictionaries(FEW_KEYS, trees(FEW, FEW_KEYS, 3), max_size=2)


def meaning(value: Any) -> Any:
    """What two values have in common that are the same data."""
    match value:
        case dict():
            return frozenset((nfc(key), meaning(member)) for key, member in value.items())
        case list():
            return tuple(meaning(each) for each in value)
        case str():
            return nfc(value)
    return type(value) is bool, value


@settings(max_examples=examples(120))
@given(FEW_DATA, FEW_DATA)
@example({"v": True}, {"v": 1})
@example({"v": None}, {})
@example({"v": [1, 2]}, {"v": [2, 1]})
def test_two_data_have_one_id_only_if_they_mean_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    try:
        ids = {id_of(one), id_of(other)}
    except InvalidInput:  # one key in two forms
        assume(False)  # noqa: FBT003 - hypothesis's way to pass over an example
        return
    assert (len(ids) == 1) == (meaning(one) == meaning(other))
