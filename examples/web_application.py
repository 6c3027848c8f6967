"""agent-storage inside a web application: one route stores notes, another finds them.

Run it from anywhere: ``python examples/web_application.py``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from app.config import load_settings
from app.domain.items import parse_item
from app.domain.search import Query
from containers import Container, create_container, running


def create_app(container: Container) -> FastAPI:
    """The application over a running container, with a worker beside its requests."""

    @asynccontextmanager
    async def with_worker(_: FastAPI) -> AsyncIterator[None]:
        await container.indexing().prepare()
        worker = container.worker()
        working = asyncio.create_task(worker.run())
        yield
        worker.stop()
        await working

    app = FastAPI(lifespan=with_worker)

    @app.put("/notes/{name}")
    async def store(name: str, text: str) -> dict[str, bool]:
        note = {"source_uri": name, "extraction_type": "note", "data": {"text": text}}
        accepted = await container.ingestion().accept("notes", [parse_item(note, ["text"])])
        return {"new": bool(accepted.new)}  # on disk; it can be found as soon as the worker has indexed it

    @app.get("/notes")
    async def find(like: str) -> list[str]:
        found = await container.search().search(Query(like, project="notes", limit=3))
        return [each.extraction.data["text"] for each in found]

    return app


def main() -> None:
    """Open the container around the event loop, so that neither opening nor closing holds it up."""
    with running(create_container(load_settings())) as container:
        uvicorn.run(create_app(container), port=8080)


if __name__ == "__main__":
    main()
