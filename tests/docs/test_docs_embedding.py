"""The page on the container, done as it says: its program, and its snippets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dependency_injector import containers, providers
from support.cli import ROOT
from support.pages import Page, reading
from support.parts import make_item
from support.settings import enter_empty_place

from app.config import load_settings
from app.domain.search import Query
from app.executor import Lane
from app.services.embedding.deterministic import DeterministicEmbedder
from containers import Container, running

pytestmark = pytest.mark.slow


@dataclass
class Service:
    """A part of an application that uses the search."""

    search: object


def names_of_the_page() -> dict[str, Any]:
    """What the page's snippets take for given, besides what they define."""
    return {
        "Container": Container,
        "MyEmbedder": partial(DeterministicEmbedder, dimension=7),
        "Query": Query,
        "Service": Service,
        "containers": containers,
        "load_settings": load_settings,
        "providers": providers,
        "running": running,
    }


async def test_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_lane: Callable[..., Lane]
) -> None:
    enter_empty_place(tmp_path, monkeypatch)
    (tmp_path / "config.yml").symlink_to(ROOT / "config.yml")
    with reading("docs/embedding.md", tmp_path, EMBEDDING_PROVIDER="wordllama") as page:
        check_the_program(page)
        names = names_of_the_page()
        await page.python(names)
        fake = DeterministicEmbedder(make_lane("fake"), 7)
        with running(names["container"]) as container:
            with container.embedder.override(fake), container.reset_singletons():
                await container.indexing().prepare()
                await container.ingestion().accept("papers", [make_item(0)])
                await container.worker().run_one()
            names |= {"container": container, "fake": fake}
            await page.python(names)
        await page.python(names)
        assert isinstance(names["application"].service(), Service)
        await page.python(names)
        mine = names["Mine"]()
        mine.config.from_pydantic(load_settings())
        with running(mine):
            assert isinstance(mine.embedder(), DeterministicEmbedder)


def check_the_program(page: Page) -> None:
    """Run the included program twice, in its own process."""
    command = f"python {ROOT / 'examples' / 'application.py'}"
    page.environment["AGENT_STORAGE_HOME"] = str(page.folder / "program")
    first = page.shell(command).stdout
    assert first == page.take("text")
    assert page.shell(command).stdout == first.replace("3 new, 0 known", "0 new, 3 known")
