"""Folds variants of spelling: width, case, diacritics, digits, Arabic and typographic variants."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

MOST_MARKS = 32
"""How many marks of a character are kept. Unicode's stream-safe format allows 30."""

_SPELLED_ALIKE = str.maketrans("‘’ʼ＇‐‑−﹣－", "''''-----")
_IGNORED = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff"
_IGNORABLE = re.compile(f"[{_IGNORED}]")
_LETTERS = str.maketrans(
    {
        "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ı": "i", "ŧ": "t",
        "ŋ": "n", "ĸ": "k", "ɓ": "b", "ɗ": "d", "ɖ": "d", "ƙ": "k", "ƴ": "y", "ǝ": "e", "ə": "e", "ɛ": "e", "ɔ": "o",
        "ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ؤ": "و", "ئ": "ي", "ـ": "", "ٱ": "ا",
    }
)  # fmt: skip
# Marks of Latin, Greek and Cyrillic, of Hebrew and of Arabic. Marks of kana and Indic or Thai
# vowels aren't included: readers see them as separate letters.
_MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]+"
)
_ALPHABETS = (
    *range(0x61, 0x7B),
    *range(0x3B1, 0x3CA),
    *range(0x430, 0x460),
    *range(0x5D0, 0x5EB),
    *range(0x621, 0x64B),
)
_DIGIT = re.compile(r"[^\W0-9a-zA-Z]")


def marks_class() -> str:
    """Return all characters that attach to the one before, as the inside of a regex class."""
    return _ranges(
        [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"]
        + [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3), 0xFF9E, 0xFF9F]
    )


def _ranges(codes: list[int]) -> str:
    spans = list[list[int]]()
    for code in sorted(set(codes)):
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in spans)


@cache
def _clusters() -> re.Pattern[str]:
    return re.compile(f"[^{marks_class()}{_IGNORED}]?[{marks_class()}{_IGNORED}]*", re.DOTALL)


def normal(chunk: str) -> tuple[str, Sequence[tuple[int, int]] | None]:
    """Return the chunk in NFKC, without invisible characters, and each character's original place.

    A place is the start and the end in the chunk. The places are None if no character has moved.
    """
    if chunk.isascii():
        return chunk, None
    chunk = chunk.translate(_SPELLED_ALIKE)
    if unicodedata.is_normalized("NFKC", chunk) and not _IGNORABLE.search(chunk):
        return chunk, None
    written, places = list[str](), list[tuple[int, int]]()
    for found in _clusters().finditer(chunk):
        piece = unicodedata.normalize("NFKC", _IGNORABLE.sub("", found[0])[: MOST_MARKS + 1])
        written.append(piece)
        places.extend([found.span()] * len(piece))
    return "".join(written), places


def fold(word: str) -> str:
    """Fold a word in NFKC: without case and diacritics, with ASCII digits. Idempotent."""
    if word.isascii():
        return word.lower()
    folded = word.casefold()
    return folded if _folded_letters().fullmatch(folded) else _folded(folded)


def _folded(word: str) -> str:
    folded = unicodedata.normalize("NFKC", word).translate(_LETTERS)
    folded = _MARKS.sub("", unicodedata.normalize("NFD", folded)).translate(_LETTERS)
    return unicodedata.normalize("NFC", _DIGIT.sub(_ascii_digit, folded))


@cache
def _folded_letters() -> re.Pattern[str]:
    """Match words of letters that folding leaves as they are.

    Most words in the large alphabets are like that, and matching takes a tenth of the time.
    """
    letters = [code for code in _ALPHABETS if chr(code).isalpha() and _folded(chr(code)) == chr(code)]
    return re.compile(f"[{_ranges(letters)}]+")


def _ascii_digit(found: re.Match[str]) -> str:
    return str(unicodedata.decimal(found[0], found[0]))
