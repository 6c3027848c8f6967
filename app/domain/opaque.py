"""Tells readable values from opaque ones, which carry no meaning for a reader or an embedder.

The rules are for values without white space; a value with white space is always kept:

- A UUID is opaque, and so is a ``data:`` URL in Base64.
- A *run* is a sequence of ASCII letters and digits. It is random if all of these hold: it has both
  letters and digits; it has 8 characters or more; it changes between digits, capital and small
  letters at least every three characters; less than two thirds of it are in words. A word has a
  vowel, and at least three letters (only the first may be a capital) or four capitals. A run of 16
  or more hexadecimal digits is random too, if it changes between letters and digits three times or
  more.
- A value is opaque if its random runs have 14 characters or more, and at least half of its letters
  and digits: tokens, hashes, ULIDs, Base64. Codes (``XR-4471-B``), dates, versions, IBANs and plain
  numbers are readable.
- The readable parts of a URL are its host and the segments of its path that have a word. A URL is
  opaque if it has a path and none of its segments has a word, as in
  ``https://shop.example/p/84731``, or if neither host nor path has one. Scheme, user, port, query
  and fragment are ignored.
"""

import re
from urllib.parse import unquote

_UUID = re.compile(r"(?:urn:uuid:)?\{?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?", re.IGNORECASE)
_INLINE = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_HEX = re.compile(r"[0-9a-f]{16,}|[0-9A-F]{16,}")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*)([^?#]*)", re.IGNORECASE)
_RUN = re.compile(r"[A-Za-z0-9]+")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_WORD_PIECE = re.compile(r"[A-Z][a-z]{2,}|[a-z]{3,}|[A-Z]{4,}")
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
_SPACE = re.compile(r"\s")
_WORD = re.compile(r"[^\W\d_]{3,}")
_BETWEEN_WORDS = re.compile(r"[\W_]+")

_SHORTEST_RANDOM_RUN = 8
_FEWEST_RANDOM = 14
_MEAN_PIECE = 3
_FEWEST_PIECES_OF_HEX = 4


def readable(value: str) -> str:
    """Return the readable part of a value: the value, the parts of a URL, or ``""`` if opaque."""
    if value.isalpha() or _SPACE.search(value):
        return value
    if "://" in value and (found := _URL.match(value)):
        return _said_by_url(*found.groups())
    return "" if _is_opaque(value) else value


def _said_by_url(authority: str, path: str) -> str:
    host = authority.rpartition("@")[2].partition(":")[0].removeprefix("www.")
    if not _WORD.search(host) or _is_opaque(host):
        host = ""
    segments = [unquote(segment) for segment in path.split("/") if segment]
    said = [_spaced(segment) for segment in segments if _WORD.search(segment) and not _is_opaque(segment)]
    if segments and not said:
        return ""
    return " ".join(filter(None, [host, *said]))


def _spaced(segment: str) -> str:
    return _BETWEEN_WORDS.sub(" ", segment).strip()


def _is_opaque(value: str) -> bool:
    if len(value) < _FEWEST_RANDOM:
        return False
    if _UUID.fullmatch(value) or _INLINE.match(value):
        return True
    runs = _RUN.findall(value)
    random = sum(len(run) for run in runs if _is_random(run))
    return random >= _FEWEST_RANDOM and 2 * random >= sum(map(len, runs))


def _is_random(run: str) -> bool:
    if len(run) < _SHORTEST_RANDOM_RUN or run.isalpha() or run.isdigit():
        return False
    pieces = _PIECE.findall(run)
    if _HEX.fullmatch(run) and len(pieces) >= _FEWEST_PIECES_OF_HEX:
        return True
    in_words = sum(len(piece) for piece in pieces if _is_word(piece))
    return len(pieces) * _MEAN_PIECE >= len(run) and 3 * in_words < 2 * len(run)


def _is_word(piece: str) -> bool:
    return _WORD_PIECE.fullmatch(piece) is not None and _VOWEL.search(piece) is not None
