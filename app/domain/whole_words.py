r"""Whole-word matching for ``contains``, by patterns that mean the same in Python and PostgreSQL.

A word is a run of letters and digits. It matches in any case, character by character (``ß`` doesn't
match ``ss``). What a database takes for a letter, and its case, depend on its locale. So a pattern
lists every character that it matches, and uses neither ``\w`` nor a flag.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

_WORD = re.compile(r"[^\W_]+")
_SPECIAL = frozenset(r"\^$.|?*+()[]{}-")


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    if text.isascii():
        return _WORD.findall(text.lower())
    return ["".join(map(_small, word)) for word in _WORD.findall(text)]


@lru_cache(maxsize=64)
def words_pattern(text: str) -> str | None:
    """Return a pattern for the words of ``text`` in a row; None if ``text`` has no words."""
    words = words_of(text)
    if not words:
        return None
    letters = _letters()
    row = f"[^{letters}]+".join("".join(map(_any_case, word)) for word in words)
    return f"(?<![{letters}]){row}(?![{letters}])"


def has_words(text: str, wanted: str) -> bool:
    """Whether the text has the words of ``wanted`` in a row. ``wanted`` has at least one word."""
    first, pattern = _looked_for(wanted)
    if text.isascii() and first not in text.lower():  # 40 times as fast as the pattern
        return False
    return pattern.search(text) is not None


@lru_cache(maxsize=64)
def _looked_for(wanted: str) -> tuple[str, re.Pattern[str]]:
    return words_of(wanted)[0], re.compile(words_pattern(wanted) or "")


def _small(character: str) -> str:
    """Fold the case of one character to one character.

    Full case folding may give several; a pattern lists the characters that fold to one.
    """
    folded = character.casefold()
    if len(folded) > 1:
        folded = character.lower()
    return folded if len(folded) == 1 else character


def _any_case(small: str) -> str:
    others = _cases().get(small)
    return f"[{small}{''.join(others)}]" if others else small


@lru_cache(maxsize=1)
def _cases() -> dict[str, list[str]]:
    """Return, for each folded character, the other characters that fold to it."""
    cases = dict[str, list[str]]()
    for character in map(chr, range(sys.maxunicode + 1)):
        if (small := _small(character)) != character:
            cases.setdefault(small, []).append(character)
    return cases


@lru_cache(maxsize=1)
def _letters() -> str:
    """Return all letters and digits, as the inside of a bracket expression."""
    return "".join(_span(run) for run in _runs())


def _runs() -> Iterator[Sequence[int]]:
    codes = [code for code in range(sys.maxunicode + 1) if chr(code).isalnum()]
    for _, run in groupby(enumerate(codes), lambda each: each[1] - each[0]):
        yield [code for _, code in run]


def _span(run: Sequence[int]) -> str:
    first, last = chr(run[0]), chr(run[-1])
    return first if first == last else f"{first}-{last}"
