"""A process that changes a project at random; settings come from the environment.

``python -m support.changing_process SEED STOP`` ingests, replaces, deletes and undoes until the
file ``STOP`` exists.
"""

import asyncio
import random
import sys
from contextlib import suppress
from pathlib import Path

from app.config import load_settings
from app.domain.filters import Filters
from app.domain.ids import RunId
from app.domain.items import Item
from app.domain.sources import ReplaceOptions, ReplaceScope, SourceFacts, SourceFilters
from app.errors import NotFound, RunEnded
from containers import Container, create_container, running
from support.facts import fact

PROJECT = "papers"
_SOURCES = [f"doc:{number}" for number in range(8)]


class Changing:
    """Makes random changes. Ignores errors for what another writer has ended or deleted."""

    def __init__(self, container: Container, seed: int) -> None:
        self._container = container
        self._random = random.Random(seed)  # noqa: S311 - test data, no secret

    async def step(self) -> None:
        """Make one change, or none if there is nothing to change."""
        steps = (self._ingest, self._ingest, self._replace, self._replace, self._delete, self._undo)
        with suppress(NotFound, RunEnded):
            await self._random.choice(steps)()

    async def _ingest(self) -> None:
        items = [item for uri in self._uris() for item in self._items(uri)]
        await self._container.ingestion().accept(PROJECT, items, run_id=await self._run())

    async def _replace(self) -> None:
        given = [SourceFacts(uri, self._items(uri)) for uri in self._uris()]
        if self._random.random() < 0.3:
            given[0] = SourceFacts(given[0].source_uri, (), gone=True)
        scope = ReplaceScope.PROJECT if self._random.random() < 0.1 else ReplaceScope.SOURCE
        options = ReplaceOptions(scope, run_id=await self._run(), allow_mass_delete=True)
        await self._container.ingestion().replace(PROJECT, given, options)

    async def _delete(self) -> None:
        uri = self._random.choice(_SOURCES)
        match self._random.randrange(3):
            case 0:
                filters = Filters(source_uris=(uri,), max_confidence=0.3)
                await self._container.extractions().delete_matching(PROJECT, filters)
            case 1:
                prefixed = SourceFilters(uri_prefix=uri)
                for row in await self._container.sources().list(PROJECT, prefixed):
                    await self._container.sources().delete(PROJECT, row.id)
            case _:
                await self._container.sources().prune(PROJECT)

    async def _undo(self) -> None:
        if runs := await self._container.runs().list(PROJECT, limit=6):
            await self._container.runs().undo(PROJECT, str(self._random.choice(runs).id))

    async def _run(self) -> RunId | None:
        if self._random.random() < 0.4:
            return None
        return (await self._container.runs().begin(PROJECT, "crawl")).id

    def _uris(self) -> list[str]:
        return self._random.sample(_SOURCES, self._random.randint(1, 3))

    def _items(self, uri: str) -> list[Item]:
        group = self._random.choice([None, "one", "two"])
        return [
            fact(
                uri,
                f"fact {number}",
                source_group=group,
                confidence=self._random.choice([None, 0.25, 0.5]),
                metadata=self._random.choice([None, {"page": 1}]),
            )
            for number in self._random.sample(range(6), self._random.randint(1, 4))
        ]


async def _change(container: Container, seed: int, stop: Path) -> None:
    changing = Changing(container, seed)
    while not await asyncio.to_thread(stop.exists):
        await changing.step()


def main() -> None:
    seed, stop = int(sys.argv[1]), Path(sys.argv[2])
    with running(create_container(load_settings())) as container:
        asyncio.run(_change(container, seed, stop))


if __name__ == "__main__":
    main()
