"""What a cell means: a number only if nothing of its text is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.intake.csv_cells import CellsByLook, cells_of, constant_of
from app.intake.mapping import ColumnMapping

PRICE = ("data", "price")


@pytest.mark.parametrize(
    ("cell", "meaning"),
    [
        ("36", 36),
        ("-4", -4),
        ("0", 0),
        ("36.5", 36.5),
        ("1.0", 1.0),
        ("123456789012345", 123456789012345),
        ("true", True),
        ("false", False),
        ("null", None),
        *(
            (text, text)
            for text in ["007", "1.50", "+49", "1e5", "-0", "1,5", " 36", "36 ", "1_000", "0x1F", ".5"]
        ),
        *(
            (text, text)
            for text in ["5.", "-", "1234567890123456", "0.1234567890123456", "TRUE", "NaN", "nan", "٣"]
        ),
        *((text, text) for text in ["2026-01-31", "12:30", "1.2.3", "=1+1", "{}", '"36"', "-inf", "1e-07"]),
    ],
)
def test_a_cell_of_the_data(cell: str, meaning: object) -> None:
    found = cells_of("price", PRICE, ColumnMapping())(cell)
    assert found == meaning
    assert type(found) is type(meaning)


@given(st.text(min_size=1) | st.from_regex(r"-?[0-9.]{1,18}", fullmatch=True))
def test_no_character_of_a_cell_is_lost(cell: str) -> None:
    found = CellsByLook("x")(cell)
    assert (found if isinstance(found, str) else json.dumps(found)) == cell


@given(st.integers(-(10**15) + 1, 10**15 - 1) | st.booleans() | st.none())
def test_what_json_writes_comes_back(value: object) -> None:
    assert CellsByLook("x")(json.dumps(value)) is value or CellsByLook("x")(json.dumps(value)) == value


def test_a_column_of_numbers_and_texts_of_digits_is_told() -> None:
    codes = CellsByLook("code")
    assert codes("007") == "007"
    assert codes.remark is None
    cells = CellsByLook("price")
    assert cells("1.50") == "1.50"
    assert cells.remark is not None
    assert "has no numbers, but cells that were kept as text" in cells.remark
    assert cells("1.55") == 1.55
    assert cells("n/a") == "n/a"
    assert cells.remark is not None
    assert "'1.50'. --number price takes all as numbers, --text price as text" in cells.remark


def test_text_and_number_decide() -> None:
    text = cells_of("sku", ("data", "sku"), ColumnMapping(texts=frozenset({"sku"})))
    assert [text(cell) for cell in ("36", "true")] == ["36", "true"]
    number = cells_of("price", PRICE, ColumnMapping(numbers=frozenset({"price"})))
    assert [number(cell) for cell in ("1.50", "007", " 3 ", "1e3", "-0.5")] == [1.5, 7, 3, 1000.0, -0.5]
    assert isinstance(number("007"), int)
    for cell in ("1,5", "n/a", "nan", "inf", "1_0", "0x1", "9" * 2_000):
        with pytest.raises(InvalidInput, match=r"^data\.price: .* isn't a number such as"):
            number(cell)


def test_a_number_too_large_for_anything_is_left_to_be_refused() -> None:
    number = cells_of("price", PRICE, ColumnMapping(numbers=frozenset({"price"})))
    assert number("1e999") == float("inf")


@pytest.mark.parametrize(
    ("path", "cell", "meaning"),
    [
        (("source_uri",), "36", "36"),
        (("extraction_type",), "true", "true"),
        (("confidence",), "0.90", 0.9),
        (("confidence",), "1", 1),
        (("gone",), "TRUE", True),
        (("data",), '{"a": 1}', {"a": 1}),
        (("metadata", "page"), "7", 7),
    ],
)
def test_a_cell_of_another_field(path: tuple[str, ...], cell: str, meaning: object) -> None:
    assert cells_of("x", path, ColumnMapping())(cell) == meaning
    assert constant_of(path, cell) == meaning


@pytest.mark.parametrize(
    ("path", "cell", "reason"),
    [
        (("confidence",), "high", "confidence: 'high' isn't a number such as 0.9"),
        (("confidence",), "0,9", "confidence: '0,9' isn't a number"),
        (("gone",), "yes", "gone: 'yes' is neither true nor false"),
        (("data",), "{'a': 1}", "data: not JSON: .*; its column holds JSON objects"),
    ],
)
def test_a_cell_that_means_nothing_is_named(path: tuple[str, ...], cell: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{reason}"):
        cells_of("x", path, ColumnMapping())(cell)


def test_numbers_with_a_comma_are_texts_and_counted() -> None:
    cells = CellsByLook("price")
    for cell in ("1,5", "-1.234,50", "7", "a, b", "1,", "see 1,5"):
        cells(cell)
    assert cells("1,234") == "1,234"
    assert cells.remark is not None
    assert "has numbers with a comma (3), such as '1,5', which were kept as text" in cells.remark
