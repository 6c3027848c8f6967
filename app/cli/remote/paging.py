"""Reads a service's lists page by page."""

import math
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from app.cli.remote.connection import Connection
from app.cli.remote.reading import read_as
from app.domain.ids import project_id_of

_A_PAGE = 1_000


async def pages_of(
    service: Connection, path: str, params: Mapping[str, object], limit: int | None
) -> AsyncIterator[Mapping[str, Any]]:
    """The pages of a list until they hold ``limit`` items, or all; omits parameters of None."""
    given = {name: _text(value) for name, value in params.items() if value is not None}
    left, cursor = math.inf if limit is None else limit, None
    while True:
        place = {"limit": str(min(left, _A_PAGE))} | ({} if cursor is None else {"cursor": cursor})
        page = await service.get(path, given | place)
        count, cursor = read_as(path, lambda page: (len(page["items"]), page["next_cursor"]), page)
        yield page
        left -= count
        if cursor is None or left <= 0:
            return


def project_path(name: str) -> str:
    """The path of a project in the API.

    Raises:
        InvalidInput: ``name`` isn't a valid project name.
    """
    project_id_of(name)
    return f"/v1/projects/{quote(name, safe='')}"


def _text(value: object) -> object:
    if isinstance(value, tuple):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)
