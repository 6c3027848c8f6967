"""The clients of the service under chaos: they retry until answered, and record the answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import orjson

from app.cli.chaos.books import Books
from app.domain.ids import ExtractionId, project_id_of
from app.domain.items import Item, extraction_id_of, parse_item
from app.domain.outcomes import Replaced
from app.domain.search import Query
from app.domain.sources import ReplaceOptions
from app.errors import ServiceError

if TYPE_CHECKING:
    from app.cli.remote.parts import RemoteParts

T = TypeVar("T")

PROJECT = "chaos"
_BATCH = 50
_SOURCES = 8
_FACTS_A_SOURCE = 12
_DELETED_AT_ONCE = 20
_PAUSE_S = 0.05
_AFTER_REFUSAL_S = 0.3
_MOST_TRIES = 1_000
_SERVER_FAULT, _BUSY = 500, {409, 429, 503}


class Load:
    """Puts one service under load until :meth:`stop`."""

    def __init__(self, parts: "RemoteParts", books: Books) -> None:
        self._parts = parts
        self._books = books
        self._stopped = False

    def stop(self) -> None:
        """Begin no more requests; those already begun are retried until answered."""
        self._stopped = True

    async def run(self) -> None:
        """Run all clients concurrently until they have stopped.

        Raises:
            ServiceError: the service refused a valid request.
        """
        first = await self._insist(partial(self._parts.ingestion().accept, PROJECT, [_item("first", "first")]))
        self._books.note_stored(first.ids)
        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(self._hand_in(f"producer {number}"))
            for work in (self._replace, self._delete, self._search):
                group.create_task(work())

    async def _hand_in(self, name: str) -> None:
        number = 0
        while not self._stopped:
            items = [_item(f"{name}:{number // 4}", f"{name} says {number}.{each}") for each in range(_BATCH)]
            accepted = await self._insist(partial(self._parts.ingestion().accept, PROJECT, items))
            self._books.note_stored(accepted.ids)
            self._books.counts["accepted"] += len(accepted.ids)
            number += 1
            await asyncio.sleep(_PAUSE_S)

    async def _replace(self) -> None:
        """Replace each source's facts, keeping some of them."""
        version, held = 0, dict[str, set[ExtractionId]]()
        while not self._stopped:
            version += 1
            uri = f"page:{version % _SOURCES}"
            kept = range(version // _SOURCES * 3, version // _SOURCES * 3 + _FACTS_A_SOURCE)
            items = [_item(uri, f"{uri} says {each}") for each in kept]
            await self._insist(partial(self._replace_by, items))
            ids = {extraction_id_of(project_id_of(PROJECT), item) for item in items}
            self._books.note_gone(held.get(uri, set()) - ids)
            self._books.note_stored(ids)
            held[uri] = ids
            self._books.counts["replaced"] += 1
            await asyncio.sleep(_PAUSE_S * 4)

    async def _replace_by(self, items: Sequence[Item]) -> None:
        options = ReplaceOptions(allow_mass_delete=True)
        await self._parts.ingestion().replace(PROJECT, _Lines(items), options, _noted)

    async def _delete(self) -> None:
        while not self._stopped:
            await asyncio.sleep(_PAUSE_S * 6)
            ids = self._books.take_some(_DELETED_AT_ONCE)
            if ids:
                await self._insist(partial(self._parts.extractions().delete_batch, PROJECT, ids))
                self._books.note_gone(ids)
                self._books.counts["deleted"] += len(ids)

    async def _search(self) -> None:
        number = 0
        while not self._stopped:
            query = Query(f"producer {number % 2} says {number}", PROJECT)
            try:
                await self._parts.search().search(query)
                self._books.counts["searches answered"] += 1
            except ServiceError as error:
                self._note(error)
            number += 1
            await asyncio.sleep(_PAUSE_S)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Retry a request until it is answered; all requests here are idempotent."""
        for _ in range(_MOST_TRIES):
            try:
                return await ask()
            except ServiceError as error:
                self._note(error)
                await asyncio.sleep(_AFTER_REFUSAL_S)
        return await ask()

    def _note(self, error: ServiceError) -> None:
        """Count a refusal; raise one that says that the request was wrong."""
        status = error.status
        if status is not None and status not in _BUSY and status < _SERVER_FAULT:
            raise error
        self._books.refusals["no answer" if status is None else str(status)] += 1


class _Lines:
    """Items as the lines of a file."""

    unit = "line"

    def __init__(self, items: Sequence[Item]) -> None:
        self._left = [(number, _line(item)) for number, item in enumerate(items, 1)]

    def next_lines(self, most: int) -> list[tuple[int, bytes]]:
        """See :class:`app.cli.ports.Lines`."""
        some, self._left = self._left[:most], self._left[most:]
        return some


def _line(item: Item) -> bytes:
    raw = {"source_uri": item.source_uri, "extraction_type": item.extraction_type, "data": item.data}
    return orjson.dumps(raw)


async def _noted(_: Replaced) -> None:
    """A no-op: the facts are compared at the end."""


def _item(uri: str, text: str) -> Item:
    raw = {"source_uri": uri, "extraction_type": "fact", "data": {"text": text}}
    return parse_item(raw, ("text",))
