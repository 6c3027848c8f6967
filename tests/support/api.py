"""The API of a new container over real sockets, on the test's event loop."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson

from app.api.app import Application, create_app, create_status_app
from app.api.bodies import NDJSON
from app.api.parts import ApiOptions
from app.entrypoints.api import options_of
from app.entrypoints.service import HttpServer, listen
from app.errors import AgentStorageError
from containers import Container, create_container, running
from support.loopback import TLS
from support.parts import WORDS, settings_for
from support.waiting import PATIENCE_S

LOOPBACK = "127.0.0.1"
_OF_A_REPLACE = ("replace", "run", "observed_at", "dry_run", "allow_mass_delete")


def raw_item(number: int, **changes: Any) -> dict[str, Any]:
    """An extraction as JSON, different for each number; its text has two of ``WORDS``."""
    item = {
        "source_uri": f"doc:{number // 2}",
        "source_group": f"group-{number // 2 % 3}",
        "extraction_type": ("fact", "claim")[number % 2],
        "confidence": (number % 11) / 10,
        "data": {"fact_text": f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} {number}", "n": number},
    }
    return {**item, **changes}


def ndjson(items: Sequence[object]) -> bytes:
    """Encode each item as one line."""
    return b"".join(orjson.dumps(item) + b"\n" for item in items)


@dataclass(frozen=True)
class Api:
    """A running API, with a client for it and the parts behind it."""

    client: httpx2.AsyncClient
    app: Application
    container: Container
    server: HttpServer
    port: int

    async def post(
        self, path: str, body: object = None, status: int = 200, headers: dict[str, str] | None = None
    ) -> Any:
        """Post JSON; the response must have ``status``."""
        return checked(await self.client.post(path, json=body, headers=headers), status)

    async def get(self, path: str, **params: Any) -> Any:
        """Get JSON."""
        return checked(await self.client.get(path, params=params), 200)

    async def delete(self, path: str, status: int = 202) -> Any:
        """Delete; the response must have ``status``."""
        return checked(await self.client.delete(path), status)

    async def hand_in(
        self,
        items: Sequence[object],
        *,
        project: str = "papers",
        lines: bool = False,
        params: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> httpx2.Response:
        """Hand extractions in, as JSON or as NDJSON; ``idempotency_key="x"`` is a header."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        kind, body = (
            (NDJSON, ndjson(items)) if lines else ("application/json", orjson.dumps({"extractions": items}))
        )
        path = f"/v1/projects/{project}/extractions"
        given = {"content-type": kind, **sent}
        return await self.client.post(path, content=body, params=params, headers=given)

    async def replaced(self, items: Sequence[object], *, status: int = 202, **options: Any) -> Any:
        """Replace the sources of the items; ``options`` include the parameters of a replace."""
        parameters = {name: options.pop(name) for name in _OF_A_REPLACE if name in options}
        response = await self.hand_in(items, params={"replace": "source", **parameters}, **options)
        return checked(response, status)

    async def accepted(self, items: Sequence[object], **options: Any) -> Any:
        """Call :meth:`hand_in`, which must succeed."""
        return checked(await self.hand_in(items, **options), 202)

    async def work(self) -> None:
        """Run every queued job; a job may fail."""
        worker = self.container.worker()
        while True:
            with suppress(AgentStorageError):
                if await worker.run_one() is None:
                    return

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a bare connection."""
        return await asyncio.open_connection(LOOPBACK, self.port)

    async def raw(self, sent: bytes, *, patience_s: float = PATIENCE_S) -> bytes:
        """Send bytes, and return the response, without closing the connection before it."""
        reader, writer = await self.connect()
        try:
            writer.write(sent)
            await writer.drain()
            async with asyncio.timeout(patience_s):
                head = await reader.readuntil(b"\r\n\r\n")
                [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                return head + await reader.readexactly(int(length.partition(b":")[2]))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def checked(response: httpx2.Response, status: int) -> Any:
    """Check the status of a response; return its JSON."""
    assert response.status_code == status, (response.status_code, response.text)
    return response.json()


def problem_of(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """Check that a response is a problem with all its members; return the problem."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert told["type"] == f"urn:agent-storage:problem:{slug}", told
    assert told["status"] == status
    assert told["request_id"] == response.headers["x-request-id"]
    assert told["title"]
    assert told["detail"]
    return told


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    options: ApiOptions | None = None,
    sections: dict[str, Any] | None = None,
    status_only: bool = False,
    **replacements: object,
) -> AsyncIterator[Api]:
    """Serve the API with real parts under ``folder``, unless replaced; ``sections`` are settings.

    ``status_only`` serves only what a process with workers and no API serves.
    """
    settings = settings_for(folder, **{"worker": {"batch_size": 50}, **(sections or {})})
    create = create_status_app if status_only else create_app
    with listen(LOOPBACK, 0) as listening, running(create_container(settings, **replacements)) as container:
        app = create(container, options or options_of(settings))
        server = HttpServer(app, listening, shutdown_s=1.0, on_stop=app.state.stopping.set)
        port = listening.getsockname()[1]
        serving_task = asyncio.create_task(server.run_until_stopped())
        try:
            await container.indexing().prepare()
            url = f"http://{LOOPBACK}:{port}"
            async with httpx2.AsyncClient(
                base_url=url, timeout=PATIENCE_S, trust_env=False, verify=TLS
            ) as client:
                yield Api(client, app, container, server, port)
        finally:
            server.stop()
            await serving_task
