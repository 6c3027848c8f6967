"""A process that replaces a whole project repeatedly; settings come from the environment.

``python -m support.replacing_process FROM`` replaces the project by generation ``FROM``, then by
the next ones, and prints each generation afterwards.
"""

import asyncio
import sys

from app.config import load_settings
from app.domain.outcomes import Counts
from app.domain.sources import ReplaceOptions, ReplaceScope, SourceFacts
from containers import Container, create_container, running
from support.facts import fact

PROJECT = "papers"
PARTS = (("doc:a", "doc:b"), ("doc:c", "doc:d"))
"""The sources of each transaction; odd generations have no ``doc:d``."""

KEPT, NEW = 6, 4
"""How many facts of a source stay in all generations, and how many are new in each."""


def facts_of(uri: str, generation: int) -> dict[str, float]:
    """The texts of a source's facts in a generation, and their confidence."""
    if uri == "doc:d" and generation % 2:
        return {}
    kept = [f"{uri} {number}" for number in range(KEPT)]
    new = [f"{uri} {number} of {generation}" for number in range(NEW)]
    return dict.fromkeys([*kept, *new], generation % 100 / 100)


async def replace_all(container: Container, generation: int) -> Counts:
    """Replace as a nightly crawl does: several transactions, then empty the sources not named."""
    options = ReplaceOptions(ReplaceScope.PROJECT, allow_mass_delete=True)
    stream = container.ingestion().replacing(PROJECT, options, key=f"generation {generation}")
    counts = Counts()
    for uris in PARTS:
        given = [
            SourceFacts(uri, [fact(uri, text, confidence=value) for text, value in facts.items()])
            for uri in uris
            if (facts := facts_of(uri, generation))
        ]
        counts += (await stream.take(given)).counts
    return counts + (await stream.finish()).counts


async def _replace(container: Container, generation: int) -> None:
    while True:
        await replace_all(container, generation)
        print(generation, flush=True)  # noqa: T201 - the test reads it
        generation += 1


def main() -> None:
    with running(create_container(load_settings())) as container:
        asyncio.run(_replace(container, int(sys.argv[1])))


if __name__ == "__main__":
    main()
