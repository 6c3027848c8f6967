"""Which values say something to a reader, and so to an embedder.

The rule, for a value without white space; a value with some is always kept as it is:

- A UUID says nothing, and neither does a ``data:`` URL in Base64.
- A *run* is a stretch of ASCII letters and digits. It is random if it holds both, has 8 characters or more, changes
  between digits and capital and small letters every three characters or more often, and less than two thirds of it stand
  in words (three letters, small but for the first, or four capitals, with a vowel). So are 16 hexadecimal digits or
  more that change between letters and digits three times or more.
- A value says nothing if random runs make up half of its letters and digits or more, and 14 of them at least: tokens,
  hashes, ULIDs, Base64. Codes (``XR-4471-B``), dates, versions, IBANs and plain numbers say something.
- A URL says its host and those segments of its path that hold a word. It says nothing if it has a path and no segment
  of it does, as ``https://shop.example/p/84731``, or if neither has a word. Scheme, user, port, query and fragment are
  no part of what it says.
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
    """What the value says: itself, of a URL its readable parts, and nothing (``""``) of what only identifies."""
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
