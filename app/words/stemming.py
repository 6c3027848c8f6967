"""Stems words by Snowball's algorithms."""

import threading
from functools import lru_cache
from typing import Protocol, cast

import Stemmer

ALGORITHMS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish",
    "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "it": "italian", "lt": "lithuanian", "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian",
    "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "st": "sesotho", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""The languages that have a stemmer, by ISO 639-1 code."""


class _Algorithm(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802 - the library's name


_held = threading.local()  # a stemmer keeps state between calls, so each thread has its own


@lru_cache(maxsize=32_768)
def stem(word: str, language: str) -> str:
    """Return the stem of a word in NFKC and lower case; the word if the language has no stemmer."""
    algorithm = ALGORITHMS.get(language)
    return word if algorithm is None else _of_this_thread(algorithm).stemWord(word) or word


def _of_this_thread(algorithm: str) -> _Algorithm:
    held: _Algorithm | None = getattr(_held, algorithm, None)
    if held is None:
        held = cast("_Algorithm", Stemmer.Stemmer(algorithm, 0))
        setattr(_held, algorithm, held)
    return held
