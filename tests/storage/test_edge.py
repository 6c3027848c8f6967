"""The embedded client: its directory, a second process, crashes, and threads."""

import json
import signal
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as edge
from numpy.typing import NDArray
from support.qdrant_engine import FAST_FOLDER

from app.errors import DataDirectoryLocked, QdrantError
from app.services.storage.qdrant.edge import EdgeClient
from app.services.storage.qdrant.ports import ClientFailure, PointQuery

DIMENSION = 8
PAYLOAD = {"project_id": "p", "source_group": "g", "extraction_type": "t", "confidence": 1.0}


def ids(count: int, first: int = 0) -> list[str]:
    return [str(uuid.UUID(int=number)) for number in range(first, first + count)]


def vectors(count: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(count).standard_normal((count, DIMENSION))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def fill(client: EdgeClient, count: int, first: int = 0) -> None:
    client.upsert(ids(count, first), vectors(count), [PAYLOAD] * count)


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=FAST_FOLDER) as folder:
        yield Path(folder) / "not yet" / "qdrant"


@pytest.fixture
def open_edge(path: Path) -> Iterator[Callable[[], EdgeClient]]:
    """Opens a client on ``path``; closes it after the test."""
    opened: list[EdgeClient] = []

    def open_one() -> EdgeClient:
        opened.append(EdgeClient(path))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@contextmanager
def process(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another Python that runs ``script``; killed at the end if it still runs."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def line_of(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


HOLDER = """
    import sys
    from pathlib import Path
    from app.services.storage.qdrant.edge import EdgeClient
    client = EdgeClient(Path(sys.argv[1]))
    if sys.argv[2] == "with a collection":
        client.create_collection(8)
    print("open", flush=True)
    sys.stdin.read()
"""


class TestDirectory:
    def test_is_made_and_has_no_collection(self, open_edge: Callable[[], EdgeClient], path: Path) -> None:
        client = open_edge()
        assert client.get_collection() is None
        assert path.is_dir()
        client.ping()

    def test_keeps_its_points_when_closed(self, open_edge: Callable[[], EdgeClient]) -> None:
        first = open_edge()
        first.create_collection(DIMENSION)
        fill(first, 100)
        before = first.query_points(vectors(100)[7], PointQuery(5))
        first.close()
        again = open_edge()
        found = again.get_collection()
        assert found is not None
        assert (found.dimension, found.distance, found.indexed) == (DIMENSION, "Cosine", True)
        assert again.count() == 100
        assert again.query_points(vectors(100)[7], PointQuery(5)) == before

    def test_is_refused_to_a_second_client(self, open_edge: Callable[[], EdgeClient], path: Path) -> None:
        open_edge().create_collection(DIMENSION)
        with pytest.raises(DataDirectoryLocked):
            EdgeClient(path)

    @pytest.mark.parametrize("state", ["with a collection", "empty"])
    def test_is_refused_to_a_second_process(
        self, open_edge: Callable[[], EdgeClient], path: Path, state: str
    ) -> None:
        with process(HOLDER, path, state) as holder:
            assert line_of(holder) == "open"
            with pytest.raises(DataDirectoryLocked, match=r"another process .*stop it.*qdrant\.url") as raised:
                open_edge()
            assert raised.value.path == str(path)
            assert str(path) in str(raised.value)
        found = open_edge().get_collection()
        assert (found is not None) == (state == "with a collection")

    def test_that_is_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(QdrantError, match=r"open the data directory .*file: "):
            EdgeClient(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "mine"

    @pytest.mark.parametrize("files", [[], ["letter.txt"]], ids=["empty", "of somebody else"])
    def test_that_holds_no_shard_is_refused_and_left_alone(
        self, open_edge: Callable[[], EdgeClient], path: Path, files: list[str]
    ) -> None:
        shard = path / "extractions"
        shard.mkdir(parents=True)
        for file in files:
            (shard / file).write_text("dear reader")
        with pytest.raises(QdrantError, match="isn't a shard") as raised:
            open_edge()
        assert str(shard) in str(raised.value)
        assert [file.name for file in shard.rglob("*")] == files

    @pytest.mark.parametrize("pattern", ["wal/open-*", "**/version.info", "edge_config.json"])
    def test_that_is_damaged_is_refused_each_time(
        self, open_edge: Callable[[], EdgeClient], path: Path, pattern: str
    ) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)
        fill(client, 10)
        client.close()
        for file in (path / "extractions").glob(pattern):
            file.write_bytes(b"garbage" * 10)
        for _ in range(2):
            with pytest.raises(QdrantError, match=r"is damaged or .*agent-storage reindex"):
                open_edge()


class TestCollection:
    def test_made_twice_is_kept(self, open_edge: Callable[[], EdgeClient]) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)
        fill(client, 3)
        client.create_collection(DIMENSION)
        assert client.count() == 3

    def test_dropped_leaves_nothing_and_is_made_anew(
        self, open_edge: Callable[[], EdgeClient], path: Path
    ) -> None:
        client = open_edge()
        for dimension in (8, 12):
            client.create_collection(dimension)
            found = client.get_collection()
            assert found is not None
            assert found.dimension == dimension
            client.delete_collection()
            assert client.get_collection() is None
            assert [file.name for file in path.iterdir()] == ["lock"]
        client.delete_collection()

    def test_dropped_stays_dropped(self, open_edge: Callable[[], EdgeClient]) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)
        client.delete_collection()
        client.close()
        assert open_edge().get_collection() is None

    @pytest.mark.parametrize("leftover", [".new", ".old"])
    def test_what_a_crash_left_is_removed(
        self, open_edge: Callable[[], EdgeClient], path: Path, leftover: str
    ) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)
        client.close()
        (path / "extractions").rename(path / leftover)
        again = open_edge()
        assert again.get_collection() is None
        assert not (path / leftover).exists()
        again.create_collection(DIMENSION)
        fill(again, 3)
        assert again.count() == 3

    def test_without_its_indexes_gets_them(self, open_edge: Callable[[], EdgeClient], path: Path) -> None:
        path.mkdir(parents=True)
        params = edge.EdgeVectorParams(size=DIMENSION, distance=edge.Distance.Cosine)
        edge.EdgeShard.create(str(path / "extractions"), edge.EdgeConfig(vectors=params)).close()
        client = open_edge()
        before = client.get_collection()
        client.create_collection(DIMENSION)
        after = client.get_collection()
        assert before is not None
        assert after is not None
        assert (before.indexed, after.indexed) == (False, True)

    def test_with_named_vectors_is_refused(self, open_edge: Callable[[], EdgeClient], path: Path) -> None:
        path.mkdir(parents=True)
        params = {"text": edge.EdgeVectorParams(size=DIMENSION, distance=edge.Distance.Cosine)}
        edge.EdgeShard.create(str(path / "extractions"), edge.EdgeConfig(vectors=params)).close()
        with pytest.raises(ClientFailure, match="another application"):
            open_edge().get_collection()

    def test_missing_is_said(self, open_edge: Callable[[], EdgeClient]) -> None:
        client = open_edge()
        for call in (client.count, client.optimize, lambda: client.retrieve(ids(1)), lambda: fill(client, 1)):
            with pytest.raises(ClientFailure, match="no such collection"):
                call()


class TestClosed:
    def test_again_does_nothing_and_calls_fail(self, open_edge: Callable[[], EdgeClient]) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)
        client.close()
        client.close()
        for call in (client.count, client.ping, client.get_collection, client.delete_collection):
            with pytest.raises(ClientFailure, match="closed"):
                call()
        with pytest.raises(ClientFailure, match="closed"):
            client.create_collection(DIMENSION)

    def test_gives_the_directory_back(self, open_edge: Callable[[], EdgeClient]) -> None:
        for _ in range(3):
            open_edge().close()


class TestEngine:
    def test_what_it_refuses_is_translated(self, open_edge: Callable[[], EdgeClient]) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)
        wrong = np.ones((1, DIMENSION + 1), np.float32)
        with pytest.raises(ClientFailure, match="dimension") as raised:
            client.upsert(ids(1), wrong, [PAYLOAD])
        assert not raised.value.transient
        with pytest.raises(ClientFailure, match="dimension"):
            client.query_points(wrong[0], PointQuery(1))
        with pytest.raises(ClientFailure):
            client.upsert(ids(1), vectors(1), [{"project_id": object()}])

    def test_optimize_changes_no_result(self, open_edge: Callable[[], EdgeClient]) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)
        fill(client, 500)
        client.delete(ids(100))
        before = client.query_points(vectors(500)[200], PointQuery(20))
        client.optimize()
        assert client.query_points(vectors(500)[200], PointQuery(20)) == before
        assert client.count() == 400

    @pytest.mark.slow
    def test_its_log_does_not_grow_with_what_was_written(self, path: Path) -> None:
        client = EdgeClient(path, log_bytes=1)
        client.create_collection(DIMENSION)
        for _ in range(24):
            client.upsert(ids(1), vectors(1), [{"text": 4 * 2**20 * "a"}])
        closed = list((path / "extractions" / "wal").glob("closed-*"))
        client.close()
        assert len(closed) <= 1, "96 MB were written, in segments of 32 MB"

    @pytest.mark.parametrize(
        ("dimension", "expected"), [(2, 128), (256, 128), (384, 128), (1536, 32), (100_000, 1)]
    )
    def test_its_batches_shrink_with_the_dimension(
        self, open_edge: Callable[[], EdgeClient], dimension: int, expected: int
    ) -> None:
        assert open_edge().batch_size(dimension) == expected

    def test_threads_write_and_read_at_once(self, open_edge: Callable[[], EdgeClient]) -> None:
        client = open_edge()
        client.create_collection(DIMENSION)

        def work(thread: int) -> int:
            for round_ in range(20):
                fill(client, 10, first=thread * 1_000 + round_ * 10)
                assert client.query_points(vectors(1)[0], PointQuery(5))
            return len(client.retrieve(ids(200, first=thread * 1_000)))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [200] * 8
        assert client.count() == 1_600


WRITER = """
    import sys, uuid
    from pathlib import Path
    import numpy as np
    from app.services.storage.qdrant.edge import EdgeClient
    client = EdgeClient(Path(sys.argv[1]), log_bytes=int(sys.argv[2]))
    client.create_collection(8)
    number = 0
    while True:
        ids = [str(uuid.UUID(int=n)) for n in range(number, number + 16)]
        client.upsert(ids, np.tile(np.eye(8, dtype=np.float32)[number % 8], (16, 1)), [{"project_id": "p"}] * 16)
        number += 16
        print(number, flush=True)
"""

REPLACER = """
    import sys
    from pathlib import Path
    from app.services.storage.qdrant.edge import EdgeClient
    client = EdgeClient(Path(sys.argv[1]))
    while True:
        client.create_collection(8)
        print("made", flush=True)
        client.delete_collection()
        print("dropped", flush=True)
"""


@pytest.mark.slow
class TestKilled:
    @pytest.mark.parametrize(("after", "log_bytes"), [(1, 2**30), (60, 2**30), (60, 20_000)])
    def test_no_acknowledged_point_is_lost(
        self, open_edge: Callable[[], EdgeClient], path: Path, after: int, log_bytes: int
    ) -> None:
        with process(WRITER, path, log_bytes) as writer:
            acknowledged = [line_of(writer) for _ in range(after)]
            writer.send_signal(signal.SIGKILL)
            assert writer.stdout is not None
            # What it still said before it died.
            acknowledged += writer.stdout.read().split()
        count = int(acknowledged[-1])
        client = open_edge()
        assert client.retrieve(ids(count)).keys() == set(ids(count))

    @pytest.mark.parametrize("after", [1, 2, 3])
    def test_while_replacing_the_collection_leaves_what_opens(
        self, open_edge: Callable[[], EdgeClient], path: Path, after: int
    ) -> None:
        with process(REPLACER, path) as replacer:
            for _ in range(after):
                assert line_of(replacer) in ("made", "dropped")
            replacer.send_signal(signal.SIGKILL)
            replacer.wait()
        client = open_edge()
        assert {file.name for file in path.iterdir()} <= {"lock", "extractions"}
        client.create_collection(DIMENSION)
        fill(client, 5)
        assert client.count() == 5


def test_qdrant_client_is_not_imported(path: Path) -> None:
    script = """
        import asyncio, json, sys, uuid
        from app.domain.filters import Filters
        from app.executor import BoundedExecutor
        from app.services.storage.qdrant.opening import open_vector_client
        from app.services.storage.qdrant.repository import QdrantRepository
        from app.settings.sections import QdrantSettings

        async def use():
            client = open_vector_client(QdrantSettings(path=sys.argv[1]))
            executor = BoundedExecutor(1)
            lane = executor.lane("qdrant", limit=1, max_waiting=1, wait_timeout_s=1)
            repository = QdrantRepository(client, lane, dimension=2)
            await repository.init_collection()
            await repository.upsert(str(uuid.UUID(int=1)), [1, 2], {"project_id": "p"})
            found = await repository.search([1, 2], 1, Filters(project_id="p", min_confidence=None))
            client.close()
            executor.close(1)
            return len(found)

        found = asyncio.run(use())
        heavy = [name for name in ("qdrant_client", "httpx", "grpc") if name in sys.modules]
        print(json.dumps([found, heavy]))
    """
    with process(script, path) as running:
        assert json.loads(line_of(running)) == [1, []]
