r"""Whole words in texts, for ``contains``: by patterns that Python and PostgreSQL read alike.

A word is a run of letters and digits, and matches in any case, character by character (``ß`` is no ``ss``). A database's
own idea of letters and of case depends on its locale, so a pattern names each character that it means, and uses neither
``\w`` nor a flag.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

_WORD = re.compile(r"[^\W_]+")
_SPECIAL = frozenset(r"\^$.|?*+()[]{}-")


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters."""
    if text.isascii():
        return _WORD.findall(text.lower())
    return ["".join(map(_small, word)) for word in _WORD.findall(text)]


@lru_cache(maxsize=64)
def words_pattern(text: str) -> str | None:
    """The pattern of texts that have the words of ``text`` in a row; None where it has none."""
    words = words_of(text)
    if not words:
        return None
    letters = _letters()
    row = f"[^{letters}]+".join("".join(map(_any_case, word)) for word in words)
    return f"(?<![{letters}]){row}(?![{letters}])"


def has_words(text: str, wanted: str) -> bool:
    """Whether the text has the words of ``wanted`` in a row. There are some."""
    first, pattern = _looked_for(wanted)
    if text.isascii() and first not in text.lower():  # 40 times as fast as the pattern
        return False
    return pattern.search(text) is not None


@lru_cache(maxsize=64)
def _looked_for(wanted: str) -> tuple[str, re.Pattern[str]]:
    return words_of(wanted)[0], re.compile(words_pattern(wanted) or "")


def _small(character: str) -> str:
    """One character for one, unlike full case folding, so that a pattern can name all that become it."""
    folded = character.casefold()
    if len(folded) > 1:
        folded = character.lower()
    return folded if len(folded) == 1 else character


def _any_case(small: str) -> str:
    others = _cases().get(small)
    return f"[{small}{''.join(others)}]" if others else small


@lru_cache(maxsize=1)
def _cases() -> dict[str, list[str]]:
    """The characters that become each small one, besides itself."""
    cases = dict[str, list[str]]()
    for character in map(chr, range(sys.maxunicode + 1)):
        if (small := _small(character)) != character:
            cases.setdefault(small, []).append(character)
    return cases


@lru_cache(maxsize=1)
def _letters() -> str:
    """All letters and digits, as the inside of a bracket expression."""
    return "".join(_span(run) for run in _runs())


def _runs() -> Iterator[Sequence[int]]:
    codes = [code for code in range(sys.maxunicode + 1) if chr(code).isalnum()]
    for _, run in groupby(enumerate(codes), lambda each: each[1] - each[0]):
        yield [code for _, code in run]


def _span(run: Sequence[int]) -> str:
    first, last = chr(run[0]), chr(run[-1])
    return first if first == last else f"{first}-{last}"
