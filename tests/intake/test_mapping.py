"""Which column is which field: what is planned, what is refused and where values are put."""

from typing import Any

import pytest

from app.errors import InvalidInput
from app.intake.mapping import ColumnMapping, path_of

URI, TYPE = ("source_uri",), ("extraction_type",)
NAMES = ["source_uri", "extraction_type", "data.text"]


def test_columns_with_the_names_of_fields_need_no_mapping() -> None:
    names = [*NAMES, "source_group", "confidence", "metadata.page.number", "observed_at", "data"]
    assert ColumnMapping().plan(names) == [[tuple(name.split("."))] for name in names]


def test_a_column_can_be_two_fields_and_gives_way_where_another_is_mapped() -> None:
    mapping = ColumnMapping(
        mapped={URI: "url", ("data", "link"): "url", TYPE: "kind"}, rest="data", ignored=frozenset({"x"})
    )
    plan = mapping.plan(["url", "kind", "extraction_type", "size.cm", "x"])
    assert plan == [
        [URI, ("data", "link")],
        [TYPE],
        [("data", "extraction_type")],  # another column is that field
        [("data", "size.cm")],  # a member called so, and none that nests
        (),
    ]


@pytest.mark.parametrize(
    ("columns", "mapping", "reason"),
    [
        ([*NAMES, "price", "url"], ColumnMapping(), "'price', 'url' aren't fields of an extraction. Say what"),
        ([*NAMES, "url"], ColumnMapping(), "'url' isn't a field of an extraction. Say what it is with --map"),
        ([*NAMES, "data."], ColumnMapping(), "'data.' isn't a field"),
        ([*NAMES, "a", "a"], ColumnMapping(rest="data"), "there are two columns 'a'"),
        (NAMES, ColumnMapping(mapped={URI: "link"}), "no column 'link'; there are 'source_uri', 'extr"),
        (
            [*NAMES, "url"],
            ColumnMapping(mapped={URI: "url"}),
            "'source_uri': --map takes this field from another column; leave this column out with --ignore source_uri",
        ),
        (NAMES, ColumnMapping(ignored=frozenset({"nope"})), "there is no column 'nope'"),
        (NAMES, ColumnMapping(texts=frozenset({"nope"})), "there is no column 'nope'"),
        (NAMES, ColumnMapping(constants={TYPE: "x"}), "--set and the column 'extraction_type' both give"),
        ([*NAMES, "price"], ColumnMapping(rest="data"), None),
        (
            ["data.text", "extraction_type"],
            ColumnMapping(),
            "no column gives source_uri; name its column with --map",
        ),
        (
            ["data.text", "source_uri"],
            ColumnMapping(),
            "no column gives extraction_type; say what kind .* --set",
        ),
        (["source_uri", "extraction_type"], ColumnMapping(), "no column gives data; name its columns with"),
        (["source_uri", "gone"], ColumnMapping(), None),
    ],
)
def test_what_columns_can_be(columns: list[str], mapping: ColumnMapping, reason: str | None) -> None:
    if reason is None:
        mapping.plan(columns)
    else:
        with pytest.raises(InvalidInput, match=reason):
            mapping.plan(columns)


def test_a_field_isnt_given_by_two_columns() -> None:
    mapping = ColumnMapping(mapped={("data", "text"): "a"}, rest="data")
    with pytest.raises(InvalidInput, match=r"the column 'a' and the column 'text' both give data\.text"):
        mapping.plan(["a", "source_uri", "extraction_type", "text"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"mapped": {URI: "a"}, "constants": {URI: "b"}}, "--map and --set both give source_uri"),
        ({"mapped": {URI: "a"}, "ignored": frozenset("a")}, "--map and --ignore both name the column 'a'"),
        ({"texts": frozenset("a"), "numbers": frozenset("a")}, "--text and --number both name the column 'a'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        ColumnMapping(**given)


@pytest.mark.parametrize("name", ["price", "data.", "data..x", ".data", "Data.x", "source_uri.x", ""])
def test_a_name_that_is_no_field_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="isn't a field of an extraction: the fields are source_uri"):
        path_of(name)


def test_the_guess_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"is data\.price meant\?"):
        path_of("price")


def test_values_are_put_where_they_belong() -> None:
    mapping = ColumnMapping(constants={TYPE: "price", ("metadata", "from"): "sheet"})
    cells: list[tuple[tuple[str, ...], object]] = [
        (URI, "u"),
        (("data",), {"a": 1}),
        (("data", "b", "c"), 2),
        (("data", "b", "d"), 3),
    ]
    assert mapping.item_of(cells) == {
        "source_uri": "u",
        "extraction_type": "price",
        "data": {"a": 1, "b": {"c": 2, "d": 3}},
        "metadata": {"from": "sheet"},
    }


def test_a_source_that_is_gone_has_no_constants() -> None:
    mapping = ColumnMapping(constants={TYPE: "price"})
    assert mapping.item_of([(URI, "u"), (("gone",), True)]) == {"source_uri": "u", "gone": True}


@pytest.mark.parametrize(
    "cells",
    [
        [(("data",), {"a": 1}), (("data", "a"), 2)],
        [(("data",), "no object"), (("data", "a"), 2)],
        [(("data", "a"), 1), (("data", "a", "b"), 2)],
    ],
)
def test_two_values_in_one_place_are_refused(cells: list[tuple[tuple[str, ...], object]]) -> None:
    with pytest.raises(InvalidInput, match=r"^data\.a"):
        ColumnMapping().item_of(cells)


def test_keys_of_an_object_are_columns() -> None:
    mapping = ColumnMapping(mapped={URI: "url"}, constants={TYPE: "x"}, ignored=frozenset({"id"}))
    found = mapping.item_of_object({"url": "u", "id": 7, "data.n": None, "metadata": {"p": 1}})
    assert found == {"source_uri": "u", "extraction_type": "x", "data": {"n": None}, "metadata": {"p": 1}}
    with pytest.raises(InvalidInput, match="'price' isn't a field"):
        mapping.item_of_object({"url": "u", "price": 1})
    with pytest.raises(InvalidInput, match="extraction_type: is given twice"):
        mapping.item_of_object({"url": "u", "extraction_type": "y"})
    assert mapping.item_of_object([1]) == [1]
