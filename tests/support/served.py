"""The API on a thread of its own, for tests that call it from theirs: many inputs over one server."""

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
    """A client, and what is behind it: its engine may be looked at, its own client is of the other thread.

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
