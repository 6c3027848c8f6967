"""The bodies that hand extractions in: a JSON list, item by item, and NDJSON, in bounded batches of lines."""

from collections.abc import AsyncIterator, Iterable

from fastapi import Request

from app.api.json_list import take_apart
from app.api.middleware import in_turns
from app.errors import InvalidField, InvalidInput, InvalidItem
from app.intake.exact_json import decode
from app.intake.formats import BOM
from app.intake.rows import MAX_BATCH_BYTES, MAX_LINE_BYTES

ITEMS = "extractions"
_WHOLE_BYTES = 64 * 2**10
"""A longer list is parsed item by item: a parser lets no other thread run until it is done."""

Line = tuple[int, bytes]
"""A line that isn't blank, and its number, counted from 1 with those that are."""


def items_of(body: bytes, most: int) -> Iterable[object]:
    """What stands in the list: a long one is decoded item by item, and so is one of which an item can't be.

    Raises:
        InvalidInput: it isn't such a body, or has no item, or more than ``most``.
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
    return InvalidField(ITEMS, 'the body is {"extractions": [...]}, and nothing else')


def _decoded_item(index: int, text: bytes) -> object:
    if len(text) > MAX_LINE_BYTES:
        raise InvalidItem(index, f"it is longer than {MAX_LINE_BYTES // 2**20} MiB")
    try:
        return decode(text)
    except InvalidInput as error:
        raise InvalidItem(index, str(error)) from None


async def line_batches(request: Request, size: int) -> AsyncIterator[list[Line]]:
    """The lines that aren't blank, at most ``size`` or 16 MB at a time. Where they are cut depends on them alone.

    A line that is too long is cut short, so that it is refused and not kept.
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
            # As it stands: one of blanks alone is refused too, and doesn't grow for ever.
            yield number, bytes(rest)
            return
    if text := _text(rest, first=number == 1):
        yield number, text


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        async for piece in in_turns(chunk):
            yield piece


def _text(line: bytearray, *, first: bool) -> bytes:
    """A line without its end and, if it is the first, without a byte order mark; empty if it is blank."""
    return bytes((line.removeprefix(BOM) if first else line).strip())
