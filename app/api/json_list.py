"""Splitting a long JSON list, so that each parser call is short: the parser holds the GIL."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.api.json_guard import STEPS

_WINDOW_BYTES = 256 * 2**10
_BACKSLASH = b"\\"
_QUOTE, _COMMA, _OPENING = (ord(sign) for sign in '",[')
_LIST_DEPTH = 2


class ListApart(NamedTuple):
    """A JSON text without the content of its outermost object's first list, and the items' places.

    The text is valid JSON if ``rest`` and each item are, which the parser checks.
    """

    rest: bytes
    items: list[slice]


def take_apart(text: bytes) -> ListApart | None:
    """Split a text into its items; None if the outermost object has no list, or it doesn't end."""
    begin, commas = None, list[int]()
    for place, sign, depth in _signs(text):
        if begin is None:
            begin = place if sign == _OPENING and depth == _LIST_DEPTH else None
        elif sign == _COMMA:
            commas.append(place)
        elif depth < _LIST_DEPTH:
            return _cut(text, begin, commas, place)
    return None


def _cut(text: bytes, begin: int, commas: list[int], end: int) -> ListApart:
    rest = text[: begin + 1] + text[end:]
    if not commas and not text[begin + 1 : end].strip():
        return ListApart(rest, [])
    starts = [place + 1 for place in (begin, *commas)]
    return ListApart(rest, [slice(start, stop) for start, stop in zip(starts, [*commas, end], strict=True)])


def _signs(text: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield where a list of the outermost object begins, ends or has a comma between items.

    Each is a place, the sign there, and the depth after it. Other signs of that depth come too,
    such as the commas of an object in the list's place.
    """
    start, depth, in_string = 0, 0, False
    while start < len(text):
        window = _without_escapes(text[start : start + _WINDOW_BYTES])
        signs = np.frombuffer(window, np.uint8)
        inside: NDArray[np.bool_] = np.logical_xor.accumulate(signs == _QUOTE) ^ in_string
        steps = np.where(inside, np.int8(0), STEPS[signs])
        depths = depth + np.cumsum(steps, dtype=np.int64)
        parting = (signs == _COMMA) & ~inside & (depths == _LIST_DEPTH)
        begins = (steps > 0) & (depths == _LIST_DEPTH)
        ends = (steps < 0) & (depths == _LIST_DEPTH - 1)
        for place in np.flatnonzero(parting | begins | ends).tolist():
            yield start + place, int(signs[place]), int(depths[place])
        start += len(window)
        depth, in_string = int(depths[-1]), bool(inside[-1])


def _without_escapes(window: bytes) -> bytes:
    """Overwrite escapes, keeping the length; drop one cut at the end, for the next window."""
    text = window.replace(rb"\\", b"xx")
    if len(text) > 1 and text.endswith(_BACKSLASH):
        text = text[:-1]
    return text.replace(rb"\"", b"xx")
