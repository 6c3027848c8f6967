"""A Qdrant cluster of real nodes behind a load balancer; each node can be killed and restarted."""

import asyncio
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from app.cli.chaos.place import free_ports, qdrant_variables
from support.postgres import SHARED_MEMORY
from support.processes import end
from support.proxy import Proxy, Streams
from support.waiting import wait_for

STARTING_S = 60.0


class Node:
    """One node, whose folder survives a kill."""

    def __init__(self, number: int, folder: Path, first: "Node | None") -> None:
        self.http, self._grpc, self._p2p = free_ports(3)
        self._first = first
        self._folder = folder / f"node-{number}"
        self._folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def peer(self) -> str:
        return f"http://127.0.0.1:{self._p2p}"

    def start(self) -> None:
        own = {
            **qdrant_variables(self._folder, self.http, self._grpc),
            "QDRANT__CLUSTER__ENABLED": "true",
            "QDRANT__CLUSTER__P2P__PORT": str(self._p2p),
        }
        joining = [] if self._first is None else ["--bootstrap", self._first.peer]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [Path(os.environ["TEST_QDRANT_BINARY"]).resolve(), *joining, "--uri", self.peer],
                cwd=self._folder,
                env={**os.environ, **own},
                stdout=log,
                stderr=log,
            )
        wait_for(self.is_ready, STARTING_S)

    def is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            end(self._process)
            self._process = None

    def get(self, path: str) -> Any:
        return httpx2.get(f"{self.url}{path}", timeout=10).json()["result"]


class Cluster:
    """Three nodes; ``url`` is the load balancer's, which connects to any node that listens."""

    def __init__(self, folder: Path) -> None:
        first = Node(1, folder, None)
        self.nodes = [first, Node(2, folder, first), Node(3, folder, first)]
        self._proxy = Proxy(self._connect)

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        wait_for(lambda: len(self.nodes[0].get("/cluster")["peers"]) == len(self.nodes), STARTING_S)
        self._proxy.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.__exit__()
        for node in self.nodes:
            node.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._proxy.port}"

    def kill_one_for(self, seconds: float) -> None:
        node = random.choice(self.nodes)  # noqa: S311 - no secret
        node.kill()
        time.sleep(seconds)
        node.start()

    def copies(self, collection: str) -> dict[int, list[tuple[str, int]]]:
        """The states of each shard's copies, and how many points each has."""
        found: dict[int, list[tuple[str, int]]] = {}
        for node in self.nodes:
            for shard in node.get(f"/collections/{collection}/cluster")["local_shards"]:
                found.setdefault(shard["shard_id"], []).append((shard["state"], shard["points_count"]))
        return found

    async def _connect(self) -> Streams:
        for node in random.sample(self.nodes, len(self.nodes)):
            try:
                return await asyncio.open_connection("127.0.0.1", node.http)
            except OSError:
                continue
        raise ConnectionRefusedError("no node listens")


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run a cluster with its folder on shared memory; both are removed at the end."""
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="agent-storage-cluster-", dir=place) as folder,
        Cluster(Path(folder)) as cluster,
    ):
        yield cluster
