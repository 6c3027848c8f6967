"""A running container for tests, and items to put into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.config import Settings
from app.domain.items import Item, parse_item
from containers import Container, create_container, running

FIELDS = ("fact_text", "text", "summary")
WORDS = ["river", "mountain", "engine", "violin", "bread", "glacier", "compass", "harvest", "lantern", "orbit"]


def settings_for(folder: Path, mode: str = "memory", **sections: object) -> Settings:
    """Settings with stores under ``folder``, the deterministic embedder, and ``sections``."""
    given = {
        "database": {"url": f"sqlite:///{folder / 'test.db'}"},
        "qdrant": {"mode": mode, "path": str(folder / "qdrant"), "url": "http://127.0.0.1:9"},
        "embedding": {"provider": "deterministic"},
    }
    return Settings.model_validate({**given, **sections})


@contextmanager
def open_container(
    folder: Path, *, mode: str = "memory", batch_size: int = 50, **replacements: object
) -> Iterator[Container]:
    """A container on SQLite under ``folder``, with the deterministic embedder, unless replaced."""
    settings = settings_for(folder, mode, worker={"batch_size": batch_size})
    with running(create_container(settings, **replacements)) as container:
        yield container


def make_item(number: int, **changes: Any) -> Item:
    """An item, different for each number; its text has two of ``WORDS``."""
    raw = {
        "source_uri": f"doc:{number // 2}",
        "source_group": f"group-{number // 2 % 3}",
        "extraction_type": ("fact", "claim")[number % 2],
        "confidence": (number % 11) / 10,
        "data": {
            "fact_text": f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} {number}",
            "n": number,
            "odd": bool(number % 2),
            "none": None,
            "meta": {"lang": ("de", "en")[number % 2]},
        },
    }
    return parse_item({**raw, **changes}, FIELDS)


def item_of(type_: str, data: dict[str, Any], **members: Any) -> Item:
    """An item of source ``a``, with this type and data."""
    return parse_item({"source_uri": "a", "extraction_type": type_, "data": data, **members}, FIELDS)


async def index_all(container: Container) -> int:
    """Run the queued index jobs; return how many extractions got their vector."""
    indexed, worker = 0, container.worker()
    while (ended := await worker.run_one()) is not None:
        indexed += (ended.result or {}).get("indexed", 0)
    return indexed


async def fill(container: Container, items: list[Item], project: str = "papers") -> None:
    """Open the index, store the items, and index them."""
    await container.indexing().prepare()
    await container.ingestion().accept(project, items)
    await index_all(container)
