"""Two crawls of two pages, each a run, and the commands on their stores, local and remote."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.domain.ids import project_id_of, source_id_of
from app.domain.items import parse_item
from app.domain.sources import ReplaceOptions, SourceFacts
from containers import Container, create_container, running
from support.cli import Cli
from support.parts import FIELDS, index_all, settings_for
from support.processes import serve_process

PAGE, GONE = "https://shop.example/a-page-of-prices?lang=de&sort=name", "https://shop.example/gone"


def source_id(uri: str, project: str = "default") -> str:
    """The id of a source, as commands print it."""
    return str(source_id_of(project_id_of(project), uri))


@contextmanager
def open_stores(folder: Path) -> Iterator[Container]:
    """Open the stores of the commands that run in ``folder``, in this process."""
    settings = settings_for(
        folder,
        "embedded",
        database={"url": f"sqlite:///{folder / 'data' / 'agent-storage.db'}"},
        qdrant={"mode": "embedded", "path": str(folder / "data" / "qdrant")},
    )
    with running(create_container(settings)) as container:
        yield container


def facts(uri: str, *texts: str | tuple[str, float], group: str | None = None) -> SourceFacts:
    """All facts of a source: texts, or texts with a confidence. Without any, the source is gone."""
    items = []
    for each in texts:
        text, confidence = (each, None) if isinstance(each, str) else each
        raw = {"source_uri": uri, "source_group": group, "extraction_type": "fact", "confidence": confidence}
        items.append(parse_item({**raw, "data": {"fact_text": text}}, FIELDS))
    return SourceFacts(uri, items, gone=not items)


async def replace(
    container: Container, run: str, sources: Sequence[SourceFacts], *, project: str = "default"
) -> str:
    """Replace the sources in a run with that name, and update the index; return the run's id."""
    await container.indexing().prepare()
    begun = await container.runs().begin(project, run, {"model": "m-1", "temperature": 0})
    await container.ingestion().replace(project, sources, ReplaceOptions(run_id=begun.id))
    await container.runs().end(project, begun.id)
    await index_all(container)
    return str(begun.id)


MONDAY = (
    facts(
        PAGE, "the bread costs 35 euro", ("open from nine to five", 0.5), "in the main street", group="shops"
    ),
    facts(GONE, "a page about nothing"),
)
TUESDAY = (
    facts(
        PAGE, "the bread costs 36 euro", ("open from nine to five", 0.9), "in the main street", group="shops"
    ),
    facts(GONE),
)


def read_twice(folder: Path) -> tuple[str, str]:
    """Make Monday's and Tuesday's crawls; return the ids of their runs."""

    async def read(container: Container) -> tuple[str, str]:
        return await replace(container, "monday", MONDAY), await replace(container, "tuesday", TUESDAY)

    with open_stores(folder) as container:
        return asyncio.run(read(container))


class Place:
    """The commands on the local stores, or with ``--api`` on those of a service."""

    def __init__(self, cli: Cli, api: tuple[str, ...] = ()) -> None:
        self.cli = cli
        self.api = api

    def __call__(self, *arguments: str, stdin: bytes | None = None, code: int = 0) -> str:
        """Run a command; return its output and then its errors, on one line and without frames."""
        done = self.cli(*arguments, *self.api, stdin=stdin, code=code)
        return " ".join((done.stdout + done.stderr).decode().replace("│", " ").split())

    def json(self, *arguments: str) -> Any:
        """Run a command; return the JSON document that it prints."""
        return self.cli.json(*arguments, *self.api)

    def items(self, *arguments: str) -> list[Any]:
        """The items of the list that a command prints with ``--json``."""
        return self.cli.items(*arguments, *self.api)

    def hits(self, *arguments: str) -> list[Any]:
        """The hits of a search, each merged with its extraction."""
        return self.cli.hits(*arguments, *self.api)

    def found(self, query: str) -> list[str]:
        """The texts that a search finds, sorted."""
        return sorted(hit["data"]["fact_text"] for hit in self.hits(query, "--limit", "50"))


PLACES = ("here", "there")


@contextmanager
def open_place(kind: str, folder: Path) -> Iterator[Place]:
    """The commands on the stores in ``folder``, local or over a service."""
    if kind == "here":
        yield Place(Cli(folder))
        return
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    with serve_process(folder, {}) as service:
        yield Place(Cli(elsewhere), ("--api", service.url))
    assert not list(elsewhere.iterdir()), "a command that uses a service opens no stores of its own"
