from concurrent.futures import ThreadPoolExecutor

import pytest

from app.words.stemming import ALGORITHMS, stem

STEMS = {  # an index holds these: where one changes, TOKENIZER_VERSION rises
    ("häuser", "de"): "haus",
    ("versicherungen", "de"): "versicher",
    ("insurances", "en"): "insur",
    ("canciones", "es"): "cancion",
    ("assurances", "fr"): "assur",
    ("страховые", "ru"): "страхов",
    ("verzekeringen", "nl"): "verzekeer",
    ("försäkringar", "sv"): "försäkring",
    ("vakuutukset", "fi"): "vakuutuks",
    ("evlerimizde", "tr"): "ev",
}


@pytest.mark.parametrize(("word", "language"), STEMS)
def test_the_stems_that_indexes_hold(word: str, language: str) -> None:
    assert stem(word, language) == STEMS[word, language]


@pytest.mark.parametrize("language", ["und", "zh", "xx", ""])
def test_a_language_without_a_stemmer_leaves_the_word(language: str) -> None:
    assert stem("wings", language) == "wings"


@pytest.mark.parametrize("language", ALGORITHMS)
def test_every_language_has_its_algorithm(language: str) -> None:
    assert stem("abc", language)


def test_threads_get_the_same_stems() -> None:
    words = [f"{first}{second}ungen" for first in "abcdefghij" for second in ("nehm", "rechn", "les")] * 20
    expected = [stem(word, "de") for word in words]
    stem.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda word: stem(word, "de"), words)) == expected
