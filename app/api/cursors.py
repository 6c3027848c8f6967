"""Cursors of the API's lists, by id, by time, and by order."""

from datetime import UTC, datetime
from uuid import UUID

from app.domain.cursors import no_cursor, read_cursor, write_cursor
from app.domain.ordering import Order, Place, read_place
from app.errors import InvalidField
from app.intake.where_text import write_order

_MOMENT = "%Y-%m-%dT%H:%M:%S.%f%z"


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


def _id_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise no_cursor() from None
