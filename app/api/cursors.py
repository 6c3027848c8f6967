"""Cursors: places in lists, opaque to clients."""

import base64
import binascii
from datetime import UTC, datetime
from uuid import UUID

import orjson

from app.domain.ordering import Order, Place, read_place
from app.errors import InvalidField
from app.intake.where_text import write_order

_MOMENT = "%Y-%m-%dT%H:%M:%S.%f%z"


def write_cursor(*place: object) -> str:
    """Make a cursor for a place in a list."""
    return base64.urlsafe_b64encode(orjson.dumps(place, default=str)).decode().rstrip("=")


def read_cursor(cursor: str, parts: int) -> list[str]:
    """Decode the place of a cursor.

    Raises:
        InvalidField: this service didn't make the cursor.
    """
    try:
        place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, list) or len(place) != parts or not all(isinstance(each, str) for each in place):
        raise no_cursor()
    return place


def read_id(cursor: str) -> UUID:
    """Decode the id after which a page of a list begins.

    Raises:
        InvalidField: this service didn't make the cursor.
    """
    [text] = read_cursor(cursor, 1)
    return _id_of(text)


def read_id_in(project: str, cursor: str) -> UUID:
    """Decode the id after which a page of a project's list begins.

    Raises:
        InvalidField: this service didn't make the cursor, or made it for another project.
    """
    of, text = read_cursor(cursor, 2)
    if of != project:
        raise InvalidField("cursor", f"is of project {of[:100]!r}; begin again without it")
    return _id_of(text)


def read_place_in(project: str, order: Order, cursor: str) -> Place:
    """Decode the place in an order after which a page of a project's list begins.

    Raises:
        InvalidField: this service didn't make the cursor, or made it for another project or another
            order.
    """
    of, sort, *place = read_cursor(cursor, 5)
    if of != project:
        raise InvalidField("cursor", f"is of project {of[:100]!r}; begin again without it")
    if sort != write_order(order):
        raise InvalidField("cursor", f"is of a list sorted by {sort[:100]}; begin again without it")
    try:
        return read_place(order, *place)
    except (InvalidField, ValueError):
        raise no_cursor() from None


def write_moment_and_id(moment: datetime, id_: UUID) -> str:
    """Make a cursor for a place in a list that is sorted by a moment."""
    return write_cursor(moment.strftime(_MOMENT), str(id_))


def read_moment_and_id(cursor: str) -> tuple[datetime, UUID]:
    """Decode the place of a cursor made by :func:`write_moment_and_id`.

    Raises:
        InvalidField: this service didn't make the cursor.
    """
    moment, text = read_cursor(cursor, 2)
    try:
        return datetime.strptime(moment, _MOMENT).astimezone(UTC), _id_of(text)  # refuses one without an offset
    except (ValueError, OverflowError):
        raise no_cursor() from None


def no_cursor() -> InvalidField:
    """Make the error for an invalid cursor."""
    return InvalidField("cursor", "wasn't made by this service; begin again without it")


def _id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise no_cursor() from None
