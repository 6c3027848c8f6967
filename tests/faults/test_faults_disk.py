"""Full, damaged and read-only disks: the errors, the data, and the recovery."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.api import Api, problem_of, raw_item, serving
from support.disk import no_more_pages, open_folder, read_only, small_disk
from support.faults import assert_goes_on, compared
from support.jobs import jobs_of
from support.parts import fill, index_all, make_item, open_container
from support.qdrant_server import HOW_TO, RealServer, own_server

from app.errors import (
    DatabaseDamaged,
    DatabaseDiskFull,
    DatabaseError,
    QdrantDiskFull,
    QdrantError,
)
from app.services.storage.qdrant.edge import EdgeClient
from containers import Container

pytestmark = pytest.mark.slow

FullWith = Callable[[Container], AbstractContextManager[None]]
BIG = "glacier " * 2_000
ENOUGH = 2**62
"""More than any disk has."""


def items(first: int, count: int) -> list[dict[str, Any]]:
    """Extractions of 16 kB each."""
    return [raw_item(n, data={"fact_text": f"number {n}", "body": BIG}) for n in range(first, first + count)]


@pytest.fixture(params=["a full tmpfs", "a file that may not grow"])
def sqlite_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, FullWith]]:
    """A folder, and what has its disk full as long as it is entered."""
    if request.param == "a file that may not grow":
        yield tmp_path, lambda container: no_more_pages(container.engine())
        return
    with small_disk(tmp_path / "disk", "16m") as disk:

        @contextmanager
        def full_with(_: Container) -> Iterator[None]:
            disk.fill()
            yield
            disk.free()

        yield disk.folder, full_with


async def hand_in_until_refused(api: Api) -> tuple[int, httpx2.Response]:
    """How many more extractions were accepted, and the answer that refused the next."""
    accepted = 0
    while True:
        answer = await api.hand_in(items(1_000 + accepted, 50))
        if answer.is_error:
            return accepted, answer
        accepted += 50


async def test_a_full_disk_under_sqlite(sqlite_disk: tuple[Path, FullWith]) -> None:
    folder, full_with = sqlite_disk
    async with serving(folder) as api:
        before = await api.accepted(items(0, 50))
        await api.work()
        with full_with(api.container):
            accepted, refused = await hand_in_until_refused(api)
            told = problem_of(refused, 503, "disk-full")
            assert (str(folder) in told["detail"], refused.headers["retry-after"]) == (False, "30")
            with pytest.raises(DatabaseDiskFull, match=r"disk is full: .*Free space") as raised:
                await api.container.ingestion().accept(
                    "papers", [make_item(n, source_uri=BIG[:1_900]) for n in range(200)]
                )
            assert raised.value.file == str(folder / "test.db")
            found = await api.post("/v1/projects/papers/search", {"query": "number 7", "limit": 1})
            assert found["items"][0]["extraction"]["id"] == before["items"][7]["id"]
        await api.work()
        compare = await compared(api.container)
        assert (compare.remaining, compare.extractions) == (0, 50 + accepted)
        await assert_goes_on(api.container)


async def test_a_full_disk_under_the_embedded_engine(tmp_path: Path) -> None:
    """The engine writes to mapped memory, so on a full disk the kernel would kill this process."""
    with small_disk(tmp_path / "qdrant", "160m") as disk:
        async with serving(
            tmp_path, sections={"qdrant": {"mode": "embedded", "path": str(disk.folder)}}
        ) as api:
            first = await api.accepted(items(0, 50))
            await api.work()
            disk.fill(but=20 * 2**20)
            await api.accepted(items(50, 50))
            with pytest.raises(QdrantDiskFull, match="has 20 MiB left"):
                await api.container.worker().run_one()
            [job] = [job for job in jobs_of(api.container.engine()) if job.status != "completed"]
            assert (job.status, job.result) == ("queued", None)
            assert f"the disk is full: {disk.folder} has 20 MiB left" in (job.error or "")
            found = await api.post("/v1/projects/papers/search", {"query": "number 7", "limit": 1})
            assert found["items"][0]["extraction"]["id"] == first["items"][7]["id"]
            with pytest.raises(
                QdrantDiskFull, match=r"Nothing was written\. Free space on that disk, and try again"
            ):
                await api.container.qdrant_repository().delete(first["items"][7]["id"])
        disk.fill()
        with pytest.raises(QdrantDiskFull, match="open the data directory"):
            EdgeClient(disk.folder)
        disk.free()
        with open_container(tmp_path, mode="embedded") as container:
            await index_all(container)
            compare = await compared(container)
            assert (compare.remaining, compare.points) == (0, 100)
            await assert_goes_on(container)


@pytest.mark.skipif("TEST_QDRANT_BINARY" not in os.environ, reason=HOW_TO)
@pytest.mark.parametrize("grpc", [False, True], ids=["rest", "grpc"])
async def test_a_full_disk_under_a_qdrant_server(tmp_path: Path, grpc: bool) -> None:
    with small_disk(tmp_path / "disk", "200m") as disk, server_on(disk.folder) as server:
        section = {
            "mode": "server",
            "url": server.url,
            "grpc_port": server.grpc_port,
            "prefer_grpc": grpc,
            "retry_timeout": 2.0,
        }
        async with serving(tmp_path, sections={"qdrant": section}) as api:
            first = await api.accepted(items(0, 50))
            await api.work()
            disk.fill(but=2**20)
            await api.accepted(items(50, 50))
            with pytest.raises(QdrantDiskFull, match=r"server's disk is full: .*Free space on it"):
                await api.container.worker().run_one()
            [job] = [job for job in jobs_of(api.container.engine()) if job.status != "completed"]
            assert (job.status, job.result) == ("queued", None)
            found = await api.post("/v1/projects/papers/search", {"query": "number 7", "limit": 1})
            assert found["items"][0]["extraction"]["id"] == first["items"][7]["id"]
            disk.free()
            await index_all(api.container)
            compare = await compared(api.container)
            assert (compare.remaining, compare.points) == (0, 100)
            await assert_goes_on(api.container)


@contextmanager
def server_on(disk: Path) -> Iterator[RealServer]:
    """A Qdrant server whose files are on that disk."""
    with own_server(
        QDRANT__STORAGE__STORAGE_PATH=str(disk / "storage"),
        QDRANT__STORAGE__SNAPSHOTS_PATH=str(disk / "snapshots"),
    ) as server:
        yield server


async def test_too_little_room_for_the_embedded_engine_needs_no_disk_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "qdrant"
    client = EdgeClient(path, reserve_bytes=ENOUGH)
    with open_container(tmp_path, qdrant_client=client) as container:
        with pytest.raises(QdrantDiskFull, match=r"could not create the collection .*disk is full"):
            await container.indexing().prepare()
        assert [file.name for file in path.iterdir()] == ["lock"]
    client.close()
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(0)])
    with pytest.raises(QdrantDiskFull, match="open the data directory"):
        EdgeClient(path, reserve_bytes=ENOUGH)
    with open_container(tmp_path, mode="embedded") as container:
        await assert_goes_on(container)


DAMAGE = {"the header": (0, 100), "the pages": (3 * 4_096, 40 * 4_096)}


@pytest.mark.parametrize("part", DAMAGE)
async def test_a_damaged_sqlite_file(tmp_path: Path, part: str) -> None:
    file, backup = tmp_path / "test.db", tmp_path / "backup.db"
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(200)])
    shutil.copyfile(file, backup)
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(200, 250)])
    damage(file, *DAMAGE[part])
    with pytest.raises(DatabaseDamaged, match=r"restore a backup.*`agent-storage verify --repair`") as raised:
        await store(tmp_path, 300, 200)
    assert raised.value.file == str(file)
    shutil.copyfile(backup, file)
    with open_container(tmp_path, mode="embedded") as container:
        compare = await compared(container, repair=True)
        await index_all(container)
        assert (compare.remaining, compare.extractions) == (0, 200)
        await assert_goes_on(container)


def damage(file: Path, start: int, length: int) -> None:
    """Overwrite a part of a file that isn't open."""
    with file.open("r+b") as opened:
        opened.seek(start)
        opened.write(b"\x5a" * min(length, file.stat().st_size - start))


async def test_a_data_directory_that_is_read_only() -> None:
    with open_folder() as folder:
        with open_container(folder, mode="embedded") as container:
            await fill(container, [make_item(0)])
        await store(folder, 1)  # imports what the user that root becomes may be unable to read
        with read_only(folder):
            with pytest.raises(
                QdrantError, match=r"open the data directory .*Permission denied. .*qdrant\.path"
            ):
                EdgeClient(folder / "qdrant")
            with pytest.raises(DatabaseError, match=r"needs write permission|is read-only") as raised:
                await store(folder, 2)
            assert str(folder / "test.db") in str(raised.value)
        with open_container(folder, mode="embedded") as container:
            await assert_goes_on(container)


async def store(folder: Path, first: int, count: int = 1) -> None:
    """Open the database, look into it and write to it."""
    with open_container(folder) as container:
        await container.projects().list()
        await container.ingestion().accept("papers", [make_item(n) for n in range(first, first + count)])
