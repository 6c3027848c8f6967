"""How long a request body within the limits delays all other requests.

One client sends the worst possible bodies for each route, one after the other. Meanwhile, another
requests ``/health/live`` on its own connection, and its slowest response counts. The service is
``agent-storage serve`` in a separate process, with the embedded default and without workers. Prints
the median of three rounds for each body.

    python bench/bodies.py [--rounds 3]
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import orjson
from api import Connection, service

MIB = 2**20
SEARCH = "/v1/projects/papers/search"
DELETE = "/v1/projects/papers/extractions/delete"
HAND_IN = "/v1/projects/papers/extractions"

Body = tuple[str, Callable[[], bytes]]


def item(number: int, **data: object) -> bytes:
    """An extraction as JSON."""
    return orjson.dumps(
        {
            "source_uri": f"doc:{number}",
            "extraction_type": "fact",
            "data": {"fact_text": f"fact {number}", **data},
        }
    )


def handed_in(*items: bytes) -> bytes:
    """A request body of these items."""
    return b'{"extractions": [' + b",".join(items) + b"]}"


def filled(begin: bytes, unit: bytes, end: bytes, size: int) -> bytes:
    """A body with as many repeats of ``unit`` as fit into ``size`` bytes."""
    return begin + b",".join([unit] * ((size - len(begin) - len(end)) // (len(unit) + 1))) + end


def members(count: int, value: bytes) -> bytes:
    """A JSON object of ``count`` members."""
    return b"{" + b",".join(b'"m%d":%b' % (number, value) for number in range(count)) + b"}"


def marks() -> bytes:
    """A text with as many combining characters as allowed, all out of order."""
    return handed_in(item(1, text=("\u0301\u0323" * 490 + "a") * 1_000))


BODIES: dict[str, Body] = {
    "plain search": (SEARCH, lambda: b'{"query": "x"}'),
    "196,000 wrong members of `where`": (
        DELETE,
        lambda: b'{"filters": {"where": ' + members(196_000, b"[]")[: 2 * MIB - 100] + b"}}",
    ),
    "1,000 terms in `where`": (
        DELETE,
        lambda: orjson.dumps(
            {"filters": {"where": {"or": [{"path": "a", "op": "=", "value": n} for n in range(1_000)]}}}
        ),
    ),
    "a text of 1 MiB in `where`": (
        DELETE,
        lambda: orjson.dumps(
            {"filters": {"where": {"path": "a", "op": "contains", "value": "e\u0301" * 350_000}}}
        ),
    ),
    "200,000 unknown fields": (SEARCH, lambda: members(200_000, b"1")[: 2 * MIB]),
    "2 MiB of empty lists": (SEARCH, lambda: filled(b'{"query": [', b"[]", b"]}", 2 * MIB)),
    "2 MiB of one text": (SEARCH, lambda: filled(b'{"query": "x', b"lorem ipsum", b'"}', 2 * MIB)),
    "10,000 ids": (DELETE, lambda: orjson.dumps({"ids": [uuid.uuid4() for _ in range(10_000)]})),
    "10,000 wrong ids": (DELETE, lambda: orjson.dumps({"ids": ["x"] * 10_000})),
    "2 MiB of wrong ids": (DELETE, lambda: filled(b'{"ids": [', b'""', b"]}", 2 * MIB)),
    "32 MiB of 10,000 extractions": (
        HAND_IN,
        lambda: handed_in(*(item(number, text="lorem ipsum dolor " * 180) for number in range(10_000))),
    ),
    "a million values in 11 extractions": (
        HAND_IN,
        lambda: handed_in(*(item(number, values=[[]] * 45_000) for number in range(11))),
    ),
    "100,000 values nested by 60": (
        HAND_IN,
        lambda: handed_in(filled(item(1)[:-2] + b',"d":[', b"[" * 55 + b"]" * 55, b"]}}", 190_000)),
    ),
    "32 MiB of empty lists": (HAND_IN, lambda: filled(b'{"extractions": [[', b"[]", b"]]}", 32 * MIB)),
    "32 MiB of 7 texts": (
        HAND_IN,
        lambda: handed_in(*(item(number, a="ü" * 10**6, b="ü" * 10**6) for number in range(7))),
    ),
    "8 MiB of escapes in one extraction": (
        HAND_IN,
        lambda: handed_in(item(1, **{f"m{number}": "\n" * 460_000 for number in range(9)})),
    ),
    "a million combining characters": (HAND_IN, marks),
}
"""The path and the body of each test, by title."""


async def slowest_beside(url: str, path: str, body: bytes) -> tuple[float, int, float]:
    """Send a body while asking for ``/health/live``.

    Returns the slowest response of the latter in ms, and the status and the time in ms of the body.
    """
    slowest, over = 0.0, False

    async def look() -> None:
        nonlocal slowest
        with closing(Connection(url)) as connection:
            while not over:
                started = time.perf_counter()
                await connection.request("GET", "/health/live")
                slowest = max(slowest, time.perf_counter() - started)
                await asyncio.sleep(0.002)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0.1)
    with closing(Connection(url)) as connection:
        started = time.perf_counter()
        try:
            status, _ = await connection.request("POST", path, body)
        except ConnectionError:
            status = 0  # rejected while it was still being sent
        seconds = time.perf_counter() - started
    await asyncio.sleep(0.1)
    over = True
    await looking
    return slowest * 1_000, status, seconds * 1_000


def peak_mib(folder: Path) -> float:
    """The peak memory of the service in that folder."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if (status.parent / "cwd").readlink() == folder and b"serve" in (
                status.parent / "cmdline"
            ).read_bytes():
                [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
                return int(line.split()[1]) / 1024
        except OSError:
            continue
    return 0.0


def main() -> None:
    """Measure each body, and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    os.environ["EMBEDDING_PROVIDER"] = "deterministic"
    for name, (path, make) in BODIES.items():
        body = make()
        with tempfile.TemporaryDirectory() as folder, service(folder, workers=0) as url:
            asyncio.run(slowest_beside(url, HAND_IN, handed_in(item(0))))
            found = [asyncio.run(slowest_beside(url, path, body)) for _ in range(rounds)]
            peak = peak_mib(Path(folder).resolve())
        slowest, whole = (statistics.median(each[place] for each in found) for place in (0, 2))
        print(
            f"{name:36} {len(body) / MIB:5.1f} MiB: {found[0][1]} after {whole:6.0f} ms, others waited "
            f"{slowest:6.1f} ms at most; peak {peak:5.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
