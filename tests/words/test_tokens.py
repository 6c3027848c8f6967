import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.words.stemming import ALGORITHMS
from app.words.tokens import Token, query_terms, terms_and_length, terms_of, tokenize

languages = st.sampled_from([*sorted(ALGORITHMS), "und", "zh", "th"])
anything = st.text(st.characters(), max_size=80)  # surrogates and control characters too


def terms(text: str, language: str = "en") -> set[str]:
    return set(terms_of(text, language))


@pytest.mark.parametrize(
    ("text", "whole", "parts"),
    [
        ("XR-4471-B", "xr4471b", {"xr", "4471", "b"}),
        ("E-207", "e207", {"e", "207"}),
        ("anna5@acme.example", "anna5@acme.example", {"anna5", "acme.example", "acme", "anna"}),
        ("https://x.example/a-b?c=1", "x.example/a-b?c=1".replace("-", ""), {"x.example", "ab", "a", "b", "1"}),
        ("3.11.2", "3.11.2", {"3", "11", "2"}),
        ("/usr/lib/foo_bar.py", "usr/lib/foobar.py", {"usr", "lib", "foobar.py", "foo", "bar", "py"}),
        ("snake_case", "snakecase", {"snake", "case"}),
        ("C++", "c++", {"c"}),
        ("C#", "c#", {"c"}),
        (".NET", ".net", {"net"}),
        ("1,234.5", "1234.5", set()),
        ("1.234,5", "1234.5", set()),
        ("200mm", "200mm", {"200", "mm"}),
        ("e-mail", "email", {"e", "mail"}),
        ("ＸＲ－４４７１", "xr4471", {"xr", "4471"}),
    ],
)
@pytest.mark.parametrize("around", ["{}", "is {} in stock?", "({}).", "“{}”, and", "型番{}は"])
def test_an_identifier_is_found_whole_and_in_parts(text: str, whole: str, parts: set[str], around: str) -> None:
    tokens = tokenize(around.format(text), "en")
    assert whole in {token.term for token in tokens if token.exact}
    assert parts <= {token.term for token in tokens}


def test_camel_case_is_found_whole_and_in_parts() -> None:
    assert {"camelcase", "camel", "case"} <= terms("camelCase")
    assert {"http", "server"} <= terms("HTTPServer")


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        ("STRASSE", "Straße", "de"),
        ("Müller", "Mueller", "de"),
        ("Häuser", "Haus", "de"),
        ("Ørsted", "orsted", "da"),
        ("Łódź", "lodz", "pl"),
        ("ISPARTA", "ısparta", "tr"),
        ("İstanbul", "istanbul", "tr"),
        ("crème", "CREME", "fr"),
        ("e-mail", "email", "en"),
        ("don't", "don’t", "en"),
        ("Panther's", "Panthers", "en"),
        ("l’homme", "homme", "fr"),
        ("أحمد", "احمد", "ar"),
        ("مُحَمَّد", "محمد", "ar"),
        ("ёлка", "елка", "ru"),
        ("cafe\u0301", "café", "fr"),
        ("ｶﾞｽ", "ガス", "ja"),
        ("한국", "한국", "ko"),
        ("１２３", "123", "en"),
        ("१२३", "123", "hi"),
        ("soft\u00adware", "software", "en"),
    ],
)
def test_two_spellings_of_a_word_meet(one: str, other: str, language: str) -> None:
    assert terms(one, language) & terms(other, language)


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [("ガス", "カス", "ja"), ("की", "का", "hi"), ("ข้าว", "ขาว", "th"), ("XR-4471", "XR-4417", "en")],
)
def test_marks_that_are_letters_and_codes_are_told_apart(one: str, other: str, language: str) -> None:
    first, second = tokenize(one, language), tokenize(other, language)
    assert {t.term for t in first} != {t.term for t in second}


@pytest.mark.parametrize("language", ["en", "de", "fr", "ru", "und", "xx", ""])
def test_a_word_as_it_stands_is_found_whatever_language_was_guessed(language: str) -> None:
    for own, text in [("de", "Häuser"), ("en", "conditional"), ("ru", "страховые"), ("es", "canción")]:
        assert {term.term for term in query_terms(text, language)} & terms(text, own)


def test_a_query_in_another_language_finds_inflected_words_by_the_stemmers_of_the_index() -> None:
    looked_up = {term.term for term in query_terms("Versicherung", "en", ["de"])}
    assert looked_up & terms("Versicherungen", "de")
    assert not {term.term for term in query_terms("Versicherung", "en")} & terms("Versicherungen", "de")


def test_function_words_are_kept() -> None:
    assert terms("to be or not to be", "en") == {"to", "be", "or", "not"}
    assert terms("The Who", "en") == {"the", "who"}


@pytest.mark.parametrize(
    ("half", "compound", "language"),
    [
        ("Versicherung", "Krankenversicherung", "de"),
        ("Kranken", "Krankenversicherung", "de"),
        ("Versicherungen", "Krankenversicherung", "de"),
        ("Versicherung", "Versicherungsnehmer", "de"),
        ("Vertrag", "Arbeitsvertrag", "de"),
        ("Einheit", "Recheneinheit", "de"),
        ("verzekering", "ziektekostenverzekering", "nl"),
        ("försäkring", "sjukförsäkring", "sv"),
        ("forsikring", "ulykkesforsikring", "nb"),
        ("forsikring", "sundhedsforsikring", "da"),
        ("vakuutus", "sairausvakuutus", "fi"),
    ],
)
def test_half_of_a_compound_finds_it(half: str, compound: str, language: str) -> None:
    assert {term.term for term in query_terms(half, language)} & terms(compound, language)


def test_a_compound_counts_as_one_word_of_the_length() -> None:
    counts, length = terms_and_length("Die Krankenversicherung zahlt 東京都", "de")
    assert length == 5
    assert sum(counts.values()) > length


def test_the_parts_of_a_compound_count_less_than_the_compound() -> None:
    weights = {term.term: term.weight for term in query_terms("Krankenversicherung", "de")}
    assert weights["krankenversicher"] == 1.0
    assert weights["versicher"] < 1.0
    assert len({term.word for term in query_terms("Krankenversicherung", "de")}) == 1


def test_function_words_of_the_query_count_less_and_none_is_left_out() -> None:
    weights = {term.term: term.weight for term in query_terms("The Who concert", "en")}
    assert weights.keys() == {"the", "who", "concert"}
    assert weights["the"] == weights["who"] < weights["concert"]


def test_another_languages_stem_does_not_raise_a_weight() -> None:
    alone = {term.term: term.weight for term in query_terms("wings of gold", "en")}
    beside = {term.term: term.weight for term in query_terms("wings of gold", "en", ["fr", "de"])}
    assert beside.items() >= alone.items()


def test_near_twin_codes_are_told_apart_in_a_sentence() -> None:
    codes = [f"XR-{first}4{second}1-B" for first in range(10) for second in range(10)]
    passages = [terms(f"The part {code} is in stock.") for code in codes]
    for number, code in enumerate(codes):
        wanted = {term.term for term in query_terms(f"is {code} in stock?", "en") if term.identifier}
        assert [place for place, passage in enumerate(passages) if wanted <= passage] == [number]


def test_neighbours_of_unspaced_scripts_are_terms() -> None:
    assert terms("東京都", "zh") == {"東京", "京都", "東", "京", "都"}
    assert terms("カメラ", "ja") == {"カメ", "メラ"}
    assert terms("한국어", "ko") == {"한국", "국어"}
    assert list(terms_of("猫", "zh")) == ["猫"]
    assert terms("AI技術", "zh") == {"ai", "技術", "技", "術"}


def test_a_word_of_one_han_character_is_found_inside_others() -> None:
    assert {term.term for term in query_terms("税", "ja")} & terms("消費税率", "ja")


def test_offsets_are_of_the_original_text() -> None:
    text = "ﬁne ㎏ cafe\u0301 Straße, 東京"
    assert {(text[t.start : t.end]) for t in tokenize(text, "de")} >= {"ﬁne", "cafe\u0301", "Straße", "東京"}


def test_identifiers_of_a_query_are_told() -> None:
    told = {term.term: term.identifier for term in query_terms("is XR-4471-B of 2015 well-known", "en")}
    assert told["xr4471b"]
    assert not told["2015"]
    assert not told["wellknown"]


@given(anything, languages)
def test_anything_gives_bounded_terms_at_places_in_the_text(text: str, language: str) -> None:
    tokens = tokenize(text, language)
    for token in tokens:
        assert 0 <= token.start < token.end <= len(text)
        assert 0 < len(token.term) <= 64
        token.term.encode()
        assert not any(character.isspace() for character in token.term)
    assert terms_of(text, language) == Counter(token.term for token in tokens)


@given(anything, languages, st.data())
def test_some_terms_alone_are_where_they_are_among_all(text: str, language: str, data: st.DataObject) -> None:
    tokens = tokenize(text, language)
    some = data.draw(st.sets(st.sampled_from(tokens).map(lambda token: token.term))) if tokens else set()
    assert tokenize(text, language, some) == [token for token in tokens if token.term in some]


@given(anything, languages)
def test_a_highlighted_passage_holds_its_term(text: str, language: str) -> None:
    for token in tokenize(text, language):
        assert token.term in terms_of(text[token.start : token.end], language)


@given(anything, languages)
def test_the_same_text_gives_the_same_terms_in_any_case_and_form(text: str, language: str) -> None:
    assert tokenize(text, language) == tokenize(text, language)
    assert {t.term for t in tokenize(text, "und")} >= {t.term for t in tokenize(text, "und") if t.exact}


LONG = {
    "a word without spaces": "a",
    "words": "insurance ",
    "marks": "\u0301",
    "marks of two classes": "\u0301\u0323",
    "zalgo": "z" + "\u0300\u0323\u0334" * 50,
    "surrogates": "\ud800",
    "control characters": "\x00\x1b",
    "signs": "-_.",
    "a path": "a/",
    "dots and digits": "1.",
    "digits and commas": "111,",
    "han": "漢",
    "kana marks": "か\u3099",
    "hangul jamo": "\u1100\u1161\u11a8",
    "thai": "กี่",
    "apostrophes": "a'",
    "camel": "aB",
    "ligatures": "\ufdfa",
    "dots": ".",
}


@pytest.mark.parametrize("unit", LONG.values(), ids=LONG.keys())
def test_cost_grows_with_the_length_alone(unit: str) -> None:
    def seconds(length: int) -> float:
        """The fastest of three, because other load on the same core slows some down."""
        text = (unit * length)[:length]
        measured = []
        for _ in range(3):
            started = time.thread_time()
            terms_of(text, "de")
            measured.append(time.thread_time() - started)
        return min(measured)

    seconds(1_000)
    assert seconds(100_000) < 8 * max(seconds(25_000), 0.03)


def test_a_long_word_is_cut_to_a_head_and_a_hash_of_the_rest() -> None:
    one, other = (tokenize("x" * 100 + end, "en") for end in "ab")
    assert len(one[0].term) == 64
    assert one[0].term[:47] == other[0].term[:47] == "x" * 47
    assert one[0].term != other[0].term


@pytest.mark.parametrize("length", [63, 64, 65, 255, 256, 257, 600])
def test_what_is_counted_is_what_is_told_of_a_long_word(length: int) -> None:
    for text in ("x" * length, "Y" + "x" * length, f"({'x' * length}),"):
        assert terms_of(text, "en") == Counter(token.term for token in tokenize(text, "en"))


def test_a_token_is_a_value() -> None:
    assert tokenize("Wings", "en") == [Token("wing", 0, 5, exact=False), Token("wings", 0, 5, exact=False)]
