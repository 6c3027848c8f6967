"""What is accepted as an extraction, and the ids that follow."""

import math
from typing import Any

import pytest

from app.domain.ids import project_id_of
from app.domain.items import MAX_URI_CHARS, Item, ItemLimits, extraction_id_of, parse_item
from app.errors import InvalidInput

FIELDS = ("fact_text", "text", "summary")
MAX_DEPTH = ItemLimits().max_depth
PROJECT = project_id_of("papers")


def raw(**changes: Any) -> dict[str, Any]:
    item = {"source_uri": "doc:1", "extraction_type": "fact", "data": {"fact_text": "water is wet"}}
    return {**item, **changes}


def parse(**changes: Any) -> Item:
    return parse_item(raw(**changes), FIELDS)


def test_a_whole_item_is_accepted_as_it_is() -> None:
    data = {"fact_text": "water is wet", "n": [1, 2.5, None, True, {"deep": "é"}]}
    item = parse(source_group="physics", confidence=0.5, data=data)
    assert (item.source_uri, item.source_group, item.extraction_type) == ("doc:1", "physics", "fact")
    assert item.confidence == 0.5
    assert item.data == data


@pytest.mark.parametrize("missing", ["source_uri", "extraction_type", "data"])
def test_a_missing_field_is_named(missing: str) -> None:
    item = raw()
    del item[missing]
    with pytest.raises(InvalidInput, match=f"{missing}: missing"):
        parse_item(item, FIELDS)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"fact_text": "deep"}
    for _ in range(depth - 1):
        value = {"inner": value}
    return value


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_uri": 5}, "source_uri: must be a string, not a number"),
        ({"source_uri": " "}, "source_uri: must not be empty"),
        ({"source_uri": "u" * 10_000_000}, "source_uri: has 10,000,000 characters; at most 2,000"),
        ({"source_group": []}, "source_group: must be a string, not an array"),
        ({"extraction_type": None}, "extraction_type: must be a string, not null"),
        ({"confidence": True}, "confidence: must be a number from 0 to 1, not true or false"),
        ({"confidence": 1.5}, "confidence: must be from 0 to 1"),
        ({"confidence": math.nan}, "confidence: must be from 0 to 1"),
        ({"confidence": 10**400}, "confidence: must be from 0 to 1"),
        ({"data": {"text": "x", "many": ["y" * 100_000] * 50}}, "data: takes 5,0[0-9,]* bytes as JSON"),
        ({"data": [1]}, "data: must be a JSON object, not an array"),
        ({"data": {}}, "data: "),
        ({"data": {"fact_text": "  "}}, "data: "),
        ({"data": {"fact_text": "x", "n": math.nan}}, "data.n: nan isn't a JSON number"),
        ({"data": {"fact_text": "x", "n": [math.inf]}}, "data.n: inf isn't a JSON number"),
        ({"data": {"fact_text": "x", "n": 2**63}}, "data.n: an integer outside 64 bits"),
        ({"data": {"fact_text": "a\0b"}}, r"data.fact_text: contains the character U\+0000"),
        ({"data": {"fact_text": "x", "\0": 1}}, r"data: contains the character U\+0000"),
        ({"data": {"fact_text": "a\ud800"}}, "data.fact_text: contains a lone surrogate at character 2"),
        ({"data": {"fact_text": "x", "\ud800": 1}}, "data: contains a lone surrogate at character 1"),
        (
            {"data": {"fact_text": "x", "a": {"\u00e9": 1, "e\u0301": 1}}},
            "data.a: has the key '\u00e9' twice, in two Unicode forms",
        ),
        ({"source_uri": "\ud800"}, "source_uri: contains a lone surrogate"),
        ({"data": nested(1_000)}, f"data: is nested more than {MAX_DEPTH} levels deep"),
        ({"colour": "red"}, "colour: unknown; the fields are confidence, data"),
    ],
)
def test_a_bad_field_is_named_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{reason}"):
        parse(**changes)


@pytest.mark.parametrize(
    ("value", "kind"), [(None, "null"), ([], "an array"), ("x", "a string"), (1, "a number")]
)
def test_what_is_no_object_is_refused(value: object, kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"not {kind}"):
        parse_item(value, FIELDS)


def test_the_limits_themselves_are_accepted() -> None:
    parse(source_uri="u" * MAX_URI_CHARS)
    parse(data=nested(MAX_DEPTH))


@pytest.mark.parametrize("name", ["", ".", "a b", "ü", "a" * 101, "x\n", "../etc"])
def test_a_bad_project_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="isn't a project name"):
        project_id_of(name)


@pytest.mark.parametrize(
    "change", [{"source_uri": "doc:2"}, {"extraction_type": "claim"}, {"data": {"text": "y"}}]
)
def test_the_id_follows_source_type_and_data(change: dict[str, Any]) -> None:
    assert extraction_id_of(PROJECT, parse()) != extraction_id_of(PROJECT, parse(**change))
    assert extraction_id_of(PROJECT, parse()) != extraction_id_of(project_id_of("other"), parse())


def test_group_and_confidence_are_no_part_of_the_id() -> None:
    assert extraction_id_of(PROJECT, parse()) == extraction_id_of(
        PROJECT, parse(source_group="g", confidence=0.1)
    )
