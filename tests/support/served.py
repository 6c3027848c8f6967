"""The API in a separate thread, for tests without an event loop: many inputs on one server."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from support.api import Api, serving
from support.loopback import TLS
from support.waiting import PATIENCE_S


@contextmanager
def served(folder: Path, *, key: str | None = None, **options: Any) -> Iterator[tuple[httpx2.Client, Api]]:
    """Serve the API; return a client and the API.

    Use this client, because the API's own belongs to the other thread; its engine may be used.
    ``options`` are those of :func:`support.api.serving`.
    """
    started, stopping = threading.Event(), threading.Event()
    running: list[Api] = []

    async def run() -> None:
        async with serving(folder, **options) as api:
            running.append(api)
            started.set()
            await asyncio.to_thread(stopping.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="served")
    thread.start()
    try:
        assert started.wait(PATIENCE_S)
        [api] = running
        headers = {} if key is None else {"x-api-key": key}
        url = api.client.base_url
        with httpx2.Client(
            base_url=url, headers=headers, timeout=PATIENCE_S, trust_env=False, verify=TLS
        ) as client:
            yield client, api
    finally:
        stopping.set()
        thread.join(PATIENCE_S)
