"""Cursors: places in lists and in the feed, opaque to users."""

import base64
import binascii

import orjson

from app.domain.changes import FeedPlace
from app.errors import InvalidField

_MOST = 2**63


def write_cursor(*place: object) -> str:
    """Make a cursor for a place in a list."""
    return base64.urlsafe_b64encode(orjson.dumps(place, default=str)).decode().rstrip("=")


def read_cursor(cursor: str, parts: int) -> list[str]:
    """Decode the place of a cursor.

    Raises:
        InvalidField: agent-storage didn't make the cursor.
    """
    try:
        place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, list) or len(place) != parts or not all(isinstance(each, str) for each in place):
        raise no_cursor()
    return place


def write_place(place: FeedPlace) -> str:
    """Make the cursor of a place in a feed."""
    return write_cursor(*map(str, place))


def read_place(cursor: str, field: str) -> FeedPlace:
    """Decode the place in a feed of a cursor that came in ``field``.

    Raises:
        InvalidField: agent-storage didn't make the cursor.
    """
    try:
        place = FeedPlace(*map(int, read_cursor(cursor, len(FeedPlace._fields))))
        if not all(0 <= each < _MOST for each in place):
            raise no_cursor()
    except (InvalidField, ValueError):
        raise InvalidField(field, no_cursor().reason) from None
    return place


def no_cursor() -> InvalidField:
    """Make the error for an invalid cursor."""
    return InvalidField("cursor", "wasn't made by this service; begin again without it")
