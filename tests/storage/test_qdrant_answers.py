"""Long answers of a real server over HTTP, on a connection that is kept."""

import socket
import statistics
import time
import uuid
from collections.abc import Callable

import numpy as np
import pytest
from qdrant_client import QdrantClient
from support.qdrant_modes import settings_of_real
from support.qdrant_server import HOW_TO, is_available, real_server

from app.services.storage.qdrant.opening import open_vector_client

pytestmark = pytest.mark.skipif(not is_available(), reason=HOW_TO)

POINTS = 1_000
DIMENSION = 4
TRIES = 30


def median(read: Callable[[], int]) -> float:
    """Return the median seconds of some reads, each of which must return all points."""
    taken = []
    for _ in range(TRIES):
        started = time.perf_counter()
        assert read() == POINTS
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def test_a_long_answer_waits_for_no_delayed_acknowledgement() -> None:
    """On a new connection the kernel acknowledges at once, and the last segment never waits."""
    name = f"answers-{uuid.uuid4().hex[:12]}"
    client = open_vector_client(settings_of_real("real-rest", collection=name), connections=1)
    new = QdrantClient(url=real_server().url, check_compatibility=False)  # keeps no local connection
    try:
        client.create_collection(DIMENSION)
        ids = [str(uuid.UUID(int=number + 1)) for number in range(POINTS)]
        payload = {"source_group": "a group " * 8}
        client.upsert(ids, np.full((POINTS, DIMENSION), 0.5, np.float32), [payload] * POINTS)
        kept = median(lambda: len(client.scroll(None, POINTS, None, payloads=True)[0]))
        assert kept < 3 * median(lambda: len(new.scroll(name, limit=POINTS)[0]))
    finally:
        new.delete_collection(name)
        new.close()
        client.close()


def test_a_kernel_that_refuses_the_option_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "TCP_QUICKACK", 9_999, raising=False)
    name = f"answers-{uuid.uuid4().hex[:12]}"
    client = open_vector_client(settings_of_real("real-rest", collection=name), connections=1)
    try:
        client.create_collection(DIMENSION)
        assert not client.scroll(None, 1, None, payloads=True)[0]
    finally:
        client.delete_collection()
        client.close()
