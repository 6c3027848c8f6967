"""Many concurrent clients in a separate process: ``python -m support.load PORT CLIENTS SECONDS``.

Each keeps a connection, and ingests or searches at random, one request after the other. Prints, as
JSON, the latencies by kind, how often each status came, how many 503s lacked Retry-After, and the
accepted ids.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.service_client import raw_item, text_of

ITEMS = 10
_PAUSE_S = 0.1
_ACCEPTED = 202
_UNAVAILABLE = 503

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Outcome:
    """The results of all clients."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: {"ingest": [], "search": []})
    statuses: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    ids: dict[int, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(
            {
                "latencies": self.latencies,
                "statuses": self.statuses,
                "without_retry_after": self.without_retry_after,
                "ids": self.ids,
            }
        )


class Client:
    """One connection with minimal HTTP, so that the client doesn't slow down the service."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any) -> Answer:
        """Post JSON; return status, headers and body of the response."""
        payload = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}"
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"{head}\r\n\r\n".encode() + payload)
        answer = await _read(reader)
        if answer[1].get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return int(first.split(" ")[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def be_client(port: int, number: int, until: float, outcome: Outcome) -> None:
    """Ingest and search at random until the time ``until``."""
    client, batch = Client(port), 0
    while time.monotonic() < until:
        kind = random.choice(("ingest", "search"))  # noqa: S311 - no secret
        started = time.monotonic()
        if kind == "ingest":
            numbers = range((number * 10_000 + batch) * ITEMS, (number * 10_000 + batch + 1) * ITEMS)
            batch += 1
            items = {"extractions": [raw_item(each) for each in numbers]}
            status, headers, body = await client.post("/v1/projects/papers/extractions", items)
            if status == _ACCEPTED:
                outcome.ids.update(
                    zip(numbers, (each["id"] for each in json.loads(body)["items"]), strict=True)
                )
        else:
            query = {"query": text_of(random.randrange(10_000_000))}  # noqa: S311 - no secret
            status, headers, body = await client.post("/v1/projects/papers/search", query)
        outcome.latencies[kind].append(time.monotonic() - started)
        outcome.statuses[f"{kind} {status}"] += 1
        if status == _UNAVAILABLE:
            outcome.without_retry_after += "retry-after" not in headers
            await asyncio.sleep(_PAUSE_S)
    client.close()


async def run(port: int, clients: int, seconds: float) -> Outcome:
    """Run all clients until the time is up and the last response has come."""
    outcome = Outcome()
    until = time.monotonic() + seconds
    await asyncio.gather(*(be_client(port, number, until, outcome) for number in range(clients)))
    return outcome


def main() -> None:
    """Run and print."""
    port, clients, seconds = sys.argv[1:]
    print(asyncio.run(run(int(port), int(clients), float(seconds))).as_json())  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
