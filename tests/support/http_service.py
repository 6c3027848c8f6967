"""The service on the test's event loop, over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.api.app import create_app
from app.config import Settings
from app.entrypoints.api import options_of
from app.entrypoints.service import HttpServer, listen
from containers import Container


@asynccontextmanager
async def serving(container: Container, settings: Settings) -> AsyncIterator[tuple[str, int]]:
    """Serve an open container, with a worker; return the address. Both are stopped at the end."""
    await container.indexing().prepare()
    with listen("127.0.0.1", 0) as listening:
        app = create_app(container, options_of(settings))
        server = HttpServer(app, listening, shutdown_s=10.0, on_stop=app.state.stopping.set)
        worker = container.worker()
        running = [asyncio.create_task(each) for each in (server.run_until_stopped(), worker.run())]
        host, port = listening.getsockname()
        try:
            yield host, port
        finally:
            worker.stop()
            server.stop()
            await asyncio.gather(*running)
