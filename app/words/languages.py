"""Guesses the language of a short text, by its script and its function words."""

from collections import Counter
from functools import cache
from types import MappingProxyType
from typing import Final

from app.words.function_words import ARABIC, CYRILLIC, DEVANAGARI, LATIN

ENGLISH: Final = "en"
UNKNOWN: Final = "und"
"""ISO 639's code for an unknown language."""
SEEN_FOR_SCRIPT: Final = 160
SEEN_FOR_WORDS: Final = 400
"""How many code points of a text are examined."""

_SCRIPTS = {
    "latin": ((0x40, 0x80), (0xC0, 0x250), (0x1E00, 0x1F00)),
    "cyrillic": ((0x400, 0x530),),
    "han": ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0)),
    "kana": ((0x3040, 0x3100), (0x31F0, 0x3200), (0xFF70, 0xFFA0)),
    "ko": ((0x1100, 0x1200), (0x3130, 0x3190), (0xAC00, 0xD7B0)),
    "arabic": ((0x620, 0x660), (0x670, 0x700), (0x750, 0x780)),
    "devanagari": ((0x900, 0x980),),
    "el": ((0x370, 0x400), (0x1F00, 0x2000)),
    "he": ((0x5D0, 0x5F0),),
    "th": ((0xE00, 0xE50),),
    "hy": ((0x530, 0x590),),
    "ka": ((0x10A0, 0x1100), (0x1C90, 0x1CC0)),
    "bn": ((0x980, 0xA00),),
    "pa": ((0xA00, 0xA80),),
    "gu": ((0xA80, 0xB00),),
    "or": ((0xB00, 0xB80),),
    "ta": ((0xB80, 0xC00),),
    "te": ((0xC00, 0xC80),),
    "kn": ((0xC80, 0xD00),),
    "ml": ((0xD00, 0xD80),),
    "si": ((0xD80, 0xE00),),
    "lo": ((0xE80, 0xEE0),),
    "bo": ((0xF00, 0x1000),),
    "my": ((0x1000, 0x10A0),),
    "am": ((0x1200, 0x1380),),
    "km": ((0x1780, 0x1800),),
}
"""The ranges of code points of each script, in rows of 16.

The name of a script that only one language uses is the language's code.
"""
_OF_SHARED = {"latin": LATIN, "cyrillic": CYRILLIC, "arabic": ARABIC, "devanagari": DEVANAGARI}
# Letters that only a few languages of a script use.
_TELLING = {
    "latin": {
        "ß": "de", "ä": "de sv fi et sk", "ö": "de sv fi tr hu et", "ü": "de tr hu et", "å": "sv da nb", "ø": "da nb",
        "æ": "da nb", "ñ": "es eu", "¿": "es", "¡": "es", "ã": "pt vi", "õ": "pt et vi", "ł": "pl", "ą": "pl lt",
        "ę": "pl lt", "ś": "pl", "ż": "pl", "ź": "pl", "ń": "pl", "ř": "cs", "ě": "cs", "ů": "cs", "ľ": "sk",
        "ĺ": "sk", "ŕ": "sk", "ő": "hu", "ű": "hu", "ğ": "tr", "ı": "tr", "ş": "tr", "ă": "ro vi", "ț": "ro",
        "ș": "ro", "ţ": "ro", "ė": "lt", "ų": "lt", "į": "lt", "ū": "lt lv", "ā": "lv", "ē": "lv", "ī": "lv",
        "ļ": "lv", "ņ": "lv", "ķ": "lv", "đ": "hr vi", "ć": "hr pl", "ë": "sq", "ĉ": "eo", "ŭ": "eo", "ĝ": "eo",
        "ơ": "vi", "ư": "vi", "ê": "fr pt vi", "è": "fr it ca", "ç": "fr pt ca tr", "œ": "fr", "ò": "it ca",
        "ì": "it", "ù": "it fr", "ï": "ca fr nl",
    },
    "cyrillic": {
        "ы": "ru", "э": "ru", "ё": "ru", "ї": "uk", "є": "uk", "ґ": "uk", "і": "uk be", "ў": "be",
        "ъ": "bg ru", "ђ": "sr", "ћ": "sr", "љ": "sr mk", "њ": "sr mk", "ј": "sr mk", "ѓ": "mk", "ќ": "mk",
    },
    "arabic": {
        "پ": "fa ur", "چ": "fa ur", "ژ": "fa", "گ": "fa ur", "ٹ": "ur", "ڈ": "ur", "ڑ": "ur", "ے": "ur", "ہ": "ur",
        "ں": "ur", "ة": "ar", "أ": "ar", "إ": "ar", "ي": "ar", "ك": "ar", "ی": "fa ur", "ک": "fa ur",
    },
    "devanagari": {"ळ": "mr"},
}  # fmt: skip
_MOST_LIKELY = MappingProxyType({"cyrillic": "ru", "arabic": "ar", "devanagari": "hi"})
_BY_SPEAKERS = "en zh es ar hi fr pt ru de ja tr vi it fa pl uk nl ro sv cs da nb fi hu".split()  # noqa: SIM905 - easier to read
_HAN_WEIGHT = 3  # a Han character says about as much as three letters
_LATIN_SHARE = 3  # any text has names and codes in Latin letters; Latin text has few others
_WORD_WEIGHT, _LETTER_WEIGHT = 60, 120  # integers, so that their sum doesn't depend on the order


def guess(text: str) -> str:
    """Return the ISO 639-1 code of the language that most of the text is in, or "und".

    Examines only the beginning of the text. Deterministic, but sometimes wrong for texts of a few
    words, so callers must not lose anything by a wrong guess.
    """
    script = "latin" if text[:SEEN_FOR_WORDS].isascii() else _script(text[:SEEN_FOR_SCRIPT])
    return _by_words(text[:SEEN_FOR_WORDS].lower(), script) if script in _OF_SHARED else script


def stemmed_as(text: str) -> str:
    """Return the language by which the words of a text are stemmed: the guessed one, else English.

    Texts without a clear language are short, with fields and names. Most inflected words in them
    are English.
    """
    language = guess(text)
    return ENGLISH if language == UNKNOWN else language


def _script(text: str) -> str:
    rows = _rows()
    letters = Counter([rows.get(ord(character) >> 4, "") for character in text])
    del letters[""]
    if not letters:
        return UNKNOWN
    letters["latin"] //= _LATIN_SHARE
    han, kana = letters.pop("han", 0) * _HAN_WEIGHT, letters.pop("kana", 0)
    most = max(sorted(letters), key=letters.__getitem__, default=UNKNOWN)
    if han + kana * 2 > letters[most]:
        return "ja" if kana else "zh"
    return most


def _by_words(text: str, script: str) -> str:
    words, telling = _evidence(script)
    scores = Counter[str]()
    for word in words.keys() & text.split():
        for language, weight in words[word]:
            scores[language] += weight
    if not text.isascii():
        for letter in telling.keys() & text:
            for language, weight in telling[letter]:
                scores[language] += weight
    if not scores:
        return _MOST_LIKELY.get(script, UNKNOWN)
    most = max(scores.values())
    return min((language for language, score in scores.items() if score == most), key=_rank)


def _rank(language: str) -> tuple[int, str]:
    return _BY_SPEAKERS.index(language) if language in _BY_SPEAKERS else len(_BY_SPEAKERS), language


@cache
def _rows() -> dict[int, str]:
    return {
        row: script
        for script, ranges in _SCRIPTS.items()
        for first, end in ranges
        for row in range(first >> 4, (end + 15) >> 4)
    }


@cache
def _evidence(script: str) -> tuple[dict[str, list[tuple[str, int]]], dict[str, list[tuple[str, int]]]]:
    """Return the languages and the weights of each word and each letter.

    The fewer languages have it, the higher its weight.
    """
    of_words = dict[str, set[str]]()
    for language, words in _OF_SHARED[script].items():
        for word in words.split():
            of_words.setdefault(word, set()).add(language)
    return (
        {word: _divided(languages, _WORD_WEIGHT) for word, languages in of_words.items()},
        {letter: _divided(set(of.split()), _LETTER_WEIGHT) for letter, of in _TELLING[script].items()},
    )


def _divided(languages: set[str], weight: int) -> list[tuple[str, int]]:
    return [(language, weight // len(languages)) for language in sorted(languages)]
