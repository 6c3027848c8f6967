"""Histories as answers, and their cursors."""

from fastapi import Response

from app.api.answers import answer_items
from app.domain.changes import History
from app.domain.cursors import no_cursor, read_cursor, write_cursor
from app.domain.documents import change_as_dict

_MOST = 2**63


async def answer_history(history: History) -> Response:
    """Make the answer for a page of changes, newest first."""
    following = None if history.before is None else write_cursor(str(history.before))
    rest = {"next_cursor": following, "whole": history.is_whole}
    return await answer_items(map(change_as_dict, history.changes), rest)


def read_number(cursor: str) -> int:
    """Decode the number before which a page begins.

    Raises:
        InvalidField: this service didn't make the cursor.
    """
    [text] = read_cursor(cursor, 1)
    try:
        number = int(text)
    except ValueError:
        raise no_cursor() from None
    if not 0 < number < _MOST:
        raise no_cursor()
    return number
