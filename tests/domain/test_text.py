import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.text import TEXT_VERSION, TextRules, require_text, text_of
from app.errors import InvalidInput

FIELDS = ("fact_text", "text", "summary")
RULES = TextRules(FIELDS)

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
def test_prose_is_the_text_as_it_stands(data: dict[str, Any], text: str) -> None:
    assert text_of("claim", data, RULES) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"employees": 250, "city": "Oslo"}, "fact: city Oslo, employees 250"),
        ({"name": "Ada", "age": 36, "score": 0.5}, "fact: age 36, name Ada, score 0.5"),
        ({"per_seat": True, "trial": False}, "fact: per seat, no trial"),
        ({"a": None, "b": "kept", "c": " "}, "fact: b kept"),
        ({"fact_text": 7}, "fact: fact text 7"),
        ({"é": "later", "z": "earlier"}, "fact: z earlier, é later"),
        ({"a": 0, "": "no name"}, "fact: no name, a 0"),
        ({"a": 123456789012345678901234567890}, "fact: a 123456789012345678901234567890"),
        ({"a": "café 🙂"}, "fact: a café 🙂"),
    ],
)
def test_without_prose_it_is_the_type_and_each_key_with_its_value(data: dict[str, Any], text: str) -> None:
    assert text_of("fact", data, RULES) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"site": {"city": "Oslo", "floor": 3}, "zone": 1}, "fact: site city Oslo, floor 3, zone 1"),
        ({"a": {"b": {"c": {"open": True}}}}, "fact: a b c open"),
        ({"a": {"b": {"c": None}, "d": 1}, "e": {}, "f": [[]], "g": 2}, "fact: a d 1, g 2"),
        ({"colours": ["red", "blue"], "n": [[1, 2], [3]]}, "fact: colours red, blue, n 1, 2, 3"),
        ({"rooms": [{"m2": 12, "use": "bath"}, {"m2": 9}]}, "fact: rooms m2 12, use bath, m2 9"),
        ({"flags": [True, False]}, "fact: flags true, false"),
    ],
)
def test_nested_values_are_said_with_the_keys_that_lead_to_them(data: dict[str, Any], text: str) -> None:
    assert text_of("fact", data, RULES) == text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plant_capacity", "plant capacity"),
        ("plantCapacity", "plant capacity"),
        ("PlantCapacityEUR", "plant capacity EUR"),
        ("HTTPStatus.code", "HTTP status code"),
        ("SKU", "SKU"),
        ("kebab-case  name", "kebab case name"),
        ("höhe_überNN", "höhe über NN"),
        ("co2Level", "co2 level"),
        ("--", "--"),
        ("_" * 300 + "x" + "_" * 300, "x"),
    ],
)
def test_names_become_words(name: str, words: str) -> None:
    assert text_of(name, {"n": 1}, RULES) == f"{words}: n 1"


def test_keys_become_words_too() -> None:
    data = {"plantCapacity": {"per_year.EUR": 1, "--": 2}}
    assert text_of("fact", data, RULES) == "fact: plant capacity 2, per year EUR 1"


ID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
NOISE: dict[str, Any] = {
    "confidence": 0.9,
    "_model": {"name": "v3"},
    "id": ID,
    "url": f"https://x.example/{ID}",
}


def test_what_says_nothing_of_the_fact_is_left_out() -> None:
    data = {**NOISE, "site": {**NOISE, "code": "XR-4471-B"}, "ids": [ID, ID]}
    assert text_of("part", data, RULES) == "part: site code XR-4471-B"


@pytest.mark.parametrize("leave", [(), ("*",), ("id", "confidence")])
def test_it_is_taken_where_there_is_nothing_else(leave: tuple[str, ...]) -> None:
    rules = TextRules(FIELDS, leave=leave)
    assert text_of("part", {"id": ID, "confidence": 1}, rules) == f"part: confidence 1, id {ID}"
    assert text_of("part", {"_x": False}, rules) == "part: no x"


@pytest.mark.parametrize(
    ("take", "leave", "text"),
    [
        (("id",), (), f"part: id {ID}, site city Oslo, zip 0150"),
        (("confidence", "_model"), (), "part: model name v3, confidence 0.9, site city Oslo, zip 0150"),
        ((), ("site",), "part: n 1"),
        ((), ("site.zip",), "part: n 1, site city Oslo"),
        (("site.city",), ("site",), "part: n 1, site city Oslo"),
        (("site.city",), ("*",), "part: site city Oslo"),
        (("site",), ("site.city", "*"), "part: site zip 0150"),
        ((), ("rooms.m2", "sit", "site.cit"), "part: n 1, site city Oslo, zip 0150"),
    ],
)
def test_fields_can_be_taken_and_left(take: tuple[str, ...], leave: tuple[str, ...], text: str) -> None:
    data = {**NOISE, "site": {"city": "Oslo", "zip": "0150"}, "rooms": [{"m2": 9}], "n": 1}
    if "n 1" not in text:
        del data["n"]
    if "rooms.m2" not in leave:
        del data["rooms"]
    assert text_of("part", data, TextRules(FIELDS, take, leave)) == text


def test_prose_is_taken_whatever_is_left() -> None:
    assert text_of("part", {"text": "prose", "n": 1}, TextRules(FIELDS, ("n",), ("text", "*"))) == "prose"


def test_a_name_that_was_set_in_another_unicode_form_is_the_same() -> None:
    data = {"cafe\u0301".encode().decode(): 1, "caf\u00e9": "Sol", "n": 1}
    del data["cafe\u0301"]
    assert text_of("fact", data, TextRules(FIELDS, leave=("cafe\u0301",))) == "fact: n 1"


class TestIdentity:
    def test_says_the_version_and_the_fields(self) -> None:
        assert RULES.identity == f'version {TEXT_VERSION}, text_fields ["fact_text", "text", "summary"]'

    def test_tells_rules_that_make_other_texts(self) -> None:
        rules = [
            RULES,
            TextRules(("text", "fact_text", "summary")),
            TextRules(FIELDS, take=("a",)),
            TextRules(FIELDS, leave=("a",)),
            TextRules(FIELDS, take=("a",), leave=("b",)),
            TextRules(FIELDS, take=("a, b",)),
            TextRules(FIELDS, take=("a", "b")),
        ]
        assert len({rule.identity for rule in rules}) == len(rules)

    def test_is_the_same_for_rules_that_make_the_same(self) -> None:
        assert TextRules(FIELDS, ("a", "b")).identity == TextRules(FIELDS, ("b", "a", "b")).identity
        assert TextRules(("caf\u00e9",)).identity == TextRules(("cafe\u0301",)).identity


@pytest.mark.parametrize("same", [(1, 1.0), (100, 1e2), (10**22, 1e22), (0, -0.0)])
def test_equal_numbers_are_spelled_alike(same: tuple[int, float]) -> None:
    assert text_of("fact", {"n": same[0]}, RULES) == text_of("fact", {"n": same[1]}, RULES)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0\u2003"])
def test_a_blank_field_is_refused_and_named_and_no_other_is_taken_for_it(blank: str) -> None:
    data = {"fact_text": blank, "text": "not what was meant"}
    with pytest.raises(InvalidInput, match="the field 'fact_text' is blank"):
        text_of("fact", data, RULES)
    with pytest.raises(InvalidInput, match="the field 'fact_text' is blank"):
        require_text(data, FIELDS)


@pytest.mark.parametrize(
    "data", [{}, {"a": None}, {"a": ""}, {"a": [], "b": {}}, {"a": [" ", None], "b": "\n"}]
)
def test_data_without_anything_to_embed_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="the data holds no text, number or boolean to embed"):
        text_of("fact", data, RULES)
    with pytest.raises(InvalidInput, match="the data holds no text, number or boolean to embed"):
        require_text(data, FIELDS)


def test_nesting_deeper_than_python_recurses_is_no_matter() -> None:
    data: dict[str, Any] = {"deep": "down"}
    for _ in range(20_000):
        data = {"a": [data]}
    assert text_of("fact", data, TextRules(FIELDS, leave=("a.b",))).endswith("a a a deep down")
    while "a" in data:  # taken apart by hand, since freeing it recurses as well
        data = data["a"].pop()


def test_the_text_grows_with_the_data_and_not_with_its_depth() -> None:
    data: dict[str, Any] = {"n": list(range(1_000))}
    for _ in range(50):
        data = {"key" * 100: data}
    assert len(text_of("fact", data, RULES)) < 2 * len(str(data))


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from("abcdefgh"), json_values, max_size=8), st.randoms())
def test_the_order_in_which_keys_were_written_is_no_matter(data: dict[str, Any], chance: Any) -> None:
    keys = list(data)
    chance.shuffle(keys)
    assert outcome(data, RULES) == outcome({key: data[key] for key in keys}, RULES)


def outcome(data: dict[str, Any], rules: TextRules) -> str:
    try:
        return text_of("fact", data, rules)
    except InvalidInput as error:
        return str(error)


paths = st.lists(st.text("abc.*", min_size=1, max_size=3), max_size=3).map(tuple)
keys = st.sampled_from([*FIELDS, "confidence", "_x", "id"]) | st.text(max_size=4)


@pytest.mark.slow
@given(st.text(min_size=1, max_size=5), st.dictionaries(keys, json_values, max_size=5), paths, paths)
def test_what_comes_out_is_never_blank_whatever_is_left(
    type_: str, data: dict[str, Any], take: tuple[str, ...], leave: tuple[str, ...]
) -> None:
    """And what may come in, by the check at intake, is what has a text under all rules."""
    try:
        require_text(data, FIELDS)
    except InvalidInput as refusal:
        with pytest.raises(InvalidInput, match=re.escape(str(refusal))):
            text_of(type_, data, TextRules(FIELDS, take, leave))
        return
    assert text_of(type_, data, TextRules(FIELDS, take, leave)).strip(" :,")
