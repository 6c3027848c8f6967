import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.words.folding import fold, normal


@pytest.mark.parametrize(
    ("word", "folded"),
    [
        ("Straße", "strasse"),
        ("ØRSTED", "orsted"),
        ("Łódź", "lodz"),
        ("Đà", "da"),
        ("Æsir", "aesir"),
        ("ısı", "isi"),
        ("İ", "i"),
        ("Ёжик", "ежик"),
        ("Ἀθῆναι", "αθηναι"),
        ("שָׁלוֹם", "שלום"),
        ("مُـحَمَّد", "محمد"),
        ("إسلام", "اسلام"),
        ("ガ", "ガ"),
        ("की", "की"),
        ("ที่", "ที่"),
        ("한국", "한국"),
        ("٤٢", "42"),
    ],
)
def test_one_spelling_for_many(word: str, folded: str) -> None:
    assert fold(word) == folded


@given(st.text(st.characters()))
def test_folding_twice_changes_nothing(text: str) -> None:
    written, _ = normal(text)
    assert fold(fold(written)) == fold(written)


@given(st.text(st.characters(), max_size=60))
def test_each_character_has_its_place(text: str) -> None:
    written, places = normal(text)
    if places is None:
        assert len(written) == len(text)
    else:
        assert len(places) == len(written)
        assert list(places) == sorted(places)
        assert all(0 <= start < end <= len(text) for start, end in places)
