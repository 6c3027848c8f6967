"""Unicode's composed form (NFC), in time linear in the length of the text."""

import unicodedata
from functools import cache

from app.errors import InvalidField

MAX_JOINING = 1_000
"""How many combining characters may follow each other.

Real text has a few; Unicode's stream-safe format allows 30.
"""

_COMPOSABLE = range(0xA0, 0x30000)
_HANGUL_VOWELS, _HANGUL_FINALS = range(0x1161, 0x1176), range(0x11A8, 0x11C3)


def composed(text: str, field: str, *, most_joining: int = MAX_JOINING) -> str:
    """Return the text in NFC.

    A long text is composed piece by piece, because each call holds the GIL.

    Raises:
        InvalidField: more than ``most_joining`` combining characters follow each other. Sorting
            them takes time quadratic in their number: 13 minutes for a million.
    """
    if text.isascii():
        return text
    pieces, start = list[str](), 0
    while len(text) - start > most_joining:
        cut = _standing(text, start + most_joining, most_joining, field)
        pieces.append(unicodedata.normalize("NFC", text[start:cut]))
        start = cut
    return "".join([*pieces, unicodedata.normalize("NFC", text[start:])])


def _standing(text: str, place: int, most_joining: int, field: str) -> int:
    """Find the first place from ``place`` on where the text can be cut, or the text's end.

    The character there can't be composed with anything before it.
    """
    joining = _joining()
    begin = end = place
    while end < len(text) and text[end] in joining and end - begin <= most_joining:
        end += 1
    while place < end and begin > 0 and text[begin - 1] in joining and end - begin <= most_joining:
        begin -= 1
    if end - begin > most_joining:
        raise InvalidField(field, f"has more than {most_joining:,} combining characters in a row")
    return end


@cache
def _joining() -> frozenset[str]:
    """Return all characters that may be composed or reordered with those before them."""
    pairs = (unicodedata.decomposition(chr(code)).split() for code in _COMPOSABLE)
    second = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}  # noqa: PLR2004 - a pair
    second.update(map(chr, _HANGUL_VOWELS), map(chr, _HANGUL_FINALS))
    return frozenset(character for character in map(chr, _COMPOSABLE) if _joins(character, second))


def _joins(character: str, second: set[str]) -> bool:
    first = unicodedata.normalize("NFD", character)[0]
    return bool(unicodedata.combining(first)) or first in second
