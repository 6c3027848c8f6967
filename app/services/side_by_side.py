"""Merge two sorted streams of pages."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Generic, TypeVar

from app.reading_ahead import reading_ahead

T = TypeVar("T")
U = TypeVar("U")


async def side_by_side(
    left: AsyncIterator[Mapping[str, T]], right: AsyncIterator[Mapping[str, U]]
) -> AsyncGenerator[tuple[dict[str, T], dict[str, U]], None]:
    """Yield the members of both streams by ranges of keys; each member comes once.

    The pages of both must be in ascending order of keys. The next page of each is fetched while the
    caller works on the current range.
    """
    async with aclosing(reading_ahead(left)) as left_pages, aclosing(reading_ahead(right)) as right_pages:
        one, other = _Stream(left_pages), _Stream(right_pages)
        while any([await one.fill(), await other.fill()]):
            end = min(stream.end for stream in (one, other) if stream.end is not None)
            yield one.take_to(end), other.take_to(end)


class _Stream(Generic[T]):
    """The pages of one stream, and the rest of the current one."""

    def __init__(self, pages: AsyncIterator[Mapping[str, T]]) -> None:
        self._pages = pages
        self._left: dict[str, T] = {}
        self.end: str | None = None
        """The last key of the current page; None after the last page."""

    async def fill(self) -> bool:
        """Fetch the next page if nothing is left; return False after the last one."""
        if not self._left:
            self._left = dict(await anext(self._pages, {}))
            self.end = max(self._left, default=None)
        return bool(self._left)

    def take_to(self, end: str) -> dict[str, T]:
        """Take the members up to and including ``end``."""
        taken = {key: member for key, member in self._left.items() if key <= end}
        self._left = {key: member for key, member in self._left.items() if key > end}
        return taken
