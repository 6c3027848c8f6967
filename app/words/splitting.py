"""Splits text into words and identifiers."""

import hashlib
import re
from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import NamedTuple

from app.words.folding import fold, marks_class

MOST_CHUNK = 256
"""The longest run without a space that is one chunk, in code points."""
MOST_TERM = 64
"""The longest term, in code points."""
_KEPT_OF_LONG = 47

# Scripts without spaces between words, and Hangul, whose words include their particles.
UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u3096\u3099-\u309f\u30a1-\u30fa"
    "\u30fc-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uffdc"
    "\u1100-\u11ff\ua960-\ua97c\uac00-\ud7fb\U0001b000-\U0001b16f\U00020000-\U000323af"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u1000-\u103f\u1050-\u109f\u1780-\u17d3\uaa60-\uaa7f"
)


class Kind(Enum):
    """How a piece becomes terms."""

    WORD = auto()
    """The piece is stemmed."""
    WHOLE = auto()
    """The piece is one term, as written."""
    NAME = auto()
    """The piece is one term, but has no digit, and an apostrophe as its only inner sign."""


class Piece(NamedTuple):
    """A part of a chunk: its text in the form for its kind, and its place in code points."""

    text: str
    start: int
    end: int
    kind: Kind


@cache
def unspaced() -> re.Pattern[str]:
    """Return a pattern for a character of a script that is written without spaces."""
    return re.compile(f"[{UNSPACED}]")


@cache
def chunks() -> re.Pattern[str]:
    """Return a pattern for runs of unspaced scripts (group 1) and bounded runs of other text."""
    return re.compile(f"([{UNSPACED}]+)|[^\\s{UNSPACED}]{{1,{MOST_CHUNK}}}")


@cache
def _compounds() -> re.Pattern[str]:
    word = f"[^\\W_]|[{marks_class()}]"
    return re.compile(
        r"(?P<number>(?<![\w,.])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w,])|(?<![\w,.])\d{1,3}(?:\.\d{3})+,\d+(?![\w,]))"
        rf"|(?:(?<![\w.])\.(?=[^\W\d_]))?(?:{word})+(?:[-_./\\:@&=?+#~%']{{1,3}}(?:{word})+)*(?:\+\+|\#)?"
    )


@cache
def _words() -> re.Pattern[str]:
    return re.compile(f"(?:[^\\W_]|[{marks_class()}])+")


# A word with punctuation around it. Most chunks match, so this is checked first.
_PLAIN = re.compile(r"[(\[\"'«„“‚‘¿¡]*([^\W\d_][^\W\d_A-Z]*|[A-Z]+)[)\]\"'»“”‘’.,;:!?؟،。、…]*")


@cache
def _runs() -> re.Pattern[str]:
    """Return a pattern for runs of digits and runs of letters, with their marks."""
    marks = f"[{marks_class()}]*"
    return re.compile(rf"(?:\d{marks})+|(?:[^\W\d_]{marks})+")


_SEGMENT = re.compile(r"[^/\\:@&=?%]+")
_SCHEME = re.compile(r"(?:https?|ftp)://(?:www\.)?", re.IGNORECASE)
_SIGNS = "-_.+#~%'"
_DROPPED = str.maketrans("", "", "-_'")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def pieces(chunk: str) -> Iterator[Piece]:
    """Yield the words and identifiers of a chunk in NFKC, identifiers in whole and in parts."""
    if plain := _PLAIN.fullmatch(chunk):
        yield Piece(plain[1], plain.start(1), plain.end(1), Kind.WORD)
        return
    for found in _compounds().finditer(chunk):
        if found["number"]:
            yield Piece(_number(found[0]), found.start(), found.end(), Kind.WHOLE)
        else:
            scheme = _SCHEME.match(found[0])
            start = found.start() + (scheme.end() if scheme and scheme.end() < len(found[0]) else 0)
            yield from _compound(chunk[start : found.end()], start)


def plain_word(chunk: str) -> str:
    """Return the word of a chunk without the punctuation around it; "" if it isn't one word."""
    plain = _PLAIN.fullmatch(chunk)
    return plain[1] if plain else ""


def bounded(term: str) -> str:
    """Return the term, shortened if it is too long.

    A short form is its first 47 characters, a tilde and 16 hexadecimal digits of its BLAKE2b hash.
    """
    if len(term) <= MOST_TERM:
        return term
    digest = hashlib.blake2b(term.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{term[:_KEPT_OF_LONG]}~{digest}"


def _number(text: str) -> str:
    """Return the same spelling for 1,234.5 and 1.234,5."""
    decimal = max(text.rfind(","), text.rfind("."))
    grouped = {",", "."} <= set(text) or text.count(text[decimal]) > 1
    if {",", "."} <= set(text):
        return f"{re.sub('[,.]', '', text[:decimal])}.{text[decimal + 1 :]}"
    return re.sub("[,.]", "", text) if grouped or "," in text else text


def _compound(text: str, start: int) -> Iterator[Piece]:
    segments = list(_SEGMENT.finditer(text))
    if len(segments) > 1:
        yield Piece(_canonical(text), start, start + len(text), Kind.WHOLE)
    for place, segment in enumerate(segments):
        # A leading or trailing sign belongs to a compound, as in .NET and C++, but not where two
        # segments meet.
        part = segment[0].rstrip(_SIGNS) if place < len(segments) - 1 else segment[0]
        inner = part.lstrip(_SIGNS) if place else part
        if inner:
            yield from _segment(inner, start + segment.start() + len(part) - len(inner))


def _canonical(text: str) -> str:
    return fold(text).translate(_DROPPED)


def _segment(text: str, start: int) -> Iterator[Piece]:
    words = list(_words().finditer(text))
    if len(words) > 1 and words[-1][0] in {"s", "S"} and text[words[-1].start() - 1] == "'":
        words.pop()
        text = text[: words[-1].end()]
    signs = set(_words().sub("", text))
    if signs == {"'"}:
        yield Piece(_canonical(text), start, start + len(text), Kind.NAME)
        words = [word for word in words if len(word[0]) > 1]
    elif signs:
        yield Piece(_canonical(text), start, start + len(text), Kind.WHOLE)
    for word in words:
        yield from _word(word[0], start + word.start())


def _word(text: str, start: int) -> Iterator[Piece]:
    if text.isalpha():
        yield from _letters(text, start)
        return
    runs = list(_runs().finditer(text))
    if not any(character.isdigit() for character in text):
        yield Piece(text, start, start + len(text), Kind.WORD)
        return
    yield Piece(fold(text), start, start + len(text), Kind.WHOLE)
    if len(runs) == 2:  # noqa: PLR2004 - a number and its unit, or a name and its number
        for run in runs:
            place = start + run.start(), start + run.end()
            yield (
                Piece(fold(run[0]), *place, Kind.WHOLE)
                if run[0].isdigit()
                else Piece(run[0], *place, Kind.WORD)
            )


def _letters(text: str, start: int) -> Iterator[Piece]:
    yield Piece(text, start, start + len(text), Kind.WORD)
    if text[1:].islower() or text.islower() or text.isupper() or not text.isascii():
        return
    parts = list(_CAMEL.finditer(text))
    if len(parts) > 1:
        for part in parts:
            yield Piece(part[0], start + part.start(), start + part.end(), Kind.WORD)
