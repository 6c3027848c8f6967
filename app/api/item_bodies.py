"""Request bodies with extractions: a JSON list, item by item, and NDJSON, in bounded batches."""

from collections.abc import AsyncIterator, Iterable

from fastapi import Request

from app.api.bodies import in_turns
from app.api.json_list import take_apart
from app.errors import InvalidField, InvalidInput, InvalidItem
from app.intake.exact_json import decode
from app.intake.formats import BOM
from app.intake.rows import MAX_BATCH_BYTES, MAX_LINE_BYTES

ITEMS = "extractions"
_WHOLE_BYTES = 64 * 2**10
"""A longer list is parsed item by item, because the parser holds the GIL during a call."""

Line = tuple[int, bytes]
"""A line that isn't blank, and its number, counted from 1 with the blank ones."""


def items_of(body: bytes, most: int) -> Iterable[object]:
    """Return the list's items; a long list, or one with an invalid item, is decoded item by item.

    Raises:
        InvalidInput: the body isn't ``{"extractions": [...]}``, or has no item or more than
            ``most``.
    """
    body = body.removeprefix(BOM)
    apart = None
    if len(body) <= _WHOLE_BYTES:
        try:
            raws = _list_of(decode(body))
        except InvalidInput:
            apart = take_apart(body)
            if apart is None:
                raise
        else:
            _check_count(len(raws), most)
            return raws
    apart = apart or take_apart(body)
    if apart is None or len(apart.rest) > _WHOLE_BYTES:
        raise _nothing_else()
    _list_of(decode(apart.rest))
    _check_count(len(apart.items), most)
    return (_decoded_item(index, body[place]) for index, place in enumerate(apart.items))


def _check_count(items: int, most: int) -> None:
    if not items:
        raise InvalidField(ITEMS, "must be an array of at least one extraction")
    if items > most:
        raise InvalidField(ITEMS, f"has {items:,} items; at most {most:,} are allowed")


def _list_of(document: object) -> list[object]:
    if not isinstance(document, dict) or document.keys() != {ITEMS}:
        raise _nothing_else()
    raws = document[ITEMS]
    if not isinstance(raws, list):
        raise InvalidField(ITEMS, "must be an array of at least one extraction")
    return raws


def _nothing_else() -> InvalidField:
    return InvalidField(ITEMS, 'the body must be {"extractions": [...]} and nothing else')


def _decoded_item(index: int, text: bytes) -> object:
    if len(text) > MAX_LINE_BYTES:
        raise InvalidItem(index, f"it is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        return decode(text)
    except InvalidInput as error:
        raise InvalidItem(index, str(error)) from None


async def line_batches(request: Request, size: int) -> AsyncIterator[list[Line]]:
    """Yield the lines that aren't blank, at most ``size`` or 16 MB at a time.

    The boundaries of batches depend only on the lines, not on how they arrive. A line that is too
    long is cut, so that it is refused without being kept in memory.
    """
    lines: list[Line] = []
    taken = 0
    async for number, line in _lines(request):
        lines.append((number, line))
        taken += len(line)
        if len(lines) == size or taken >= MAX_BATCH_BYTES:
            yield lines
            lines, taken = [], 0
    if lines:
        yield lines


async def _lines(request: Request) -> AsyncIterator[Line]:
    rest, number = bytearray(), 1
    async for piece in _pieces(request):
        rest += piece
        if b"\n" not in piece and len(rest) <= MAX_LINE_BYTES:
            continue
        *whole, last = rest.split(b"\n")
        rest = last
        for line in whole:
            if line and (text := _text(line, first=number == 1)):
                yield number, text
            number += 1
        if len(rest) > MAX_LINE_BYTES:
            # Not stripped: a line of only blanks is refused too, instead of growing without bound.
            yield number, bytes(rest)
            return
    if text := _text(rest, first=number == 1):
        yield number, text


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        async for piece in in_turns(chunk):
            yield piece


def _text(line: bytearray, *, first: bool) -> bytes:
    """Strip a line, and the byte order mark of the first one; empty if the line is blank."""
    return bytes((line.removeprefix(BOM) if first else line).strip())
