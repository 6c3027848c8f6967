"""What unpacks to far more than it is, or never ends, is refused in bounded memory."""

import asyncio
import gzip
import io
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from support.api import Api, problem_of, serving
from support.cli import COMMAND, environment
from support.embedding_stub import Answer, EmbeddingStub
from support.embedding_stub import serving as serving_embeddings
from support.memory import run_measured
from support.waiting import until

from app.cli.remote.connection import Connection, Patience, open_http_client
from app.errors import EmbeddingError, EmbeddingUnavailable, ServiceError, ServiceUnavailable
from app.executor import BoundedExecutor, Lane
from app.intake.bounded_body import AnswerTooLongError, AnswerTooSlowError, read_within
from app.intake.byte_stream import ByteStream
from app.intake.json_lines import JsonLines
from app.intake.rows import MAX_LINE_BYTES, RowBatch, RowReader
from app.services.embedding.connections import Connections
from app.services.embedding.openai import OpenAIEmbedder
from app.settings.sections import EmbeddingSettings

pytestmark = pytest.mark.slow

DIMENSION = 8
MIB = 2**20
LINE = b'{"source_uri": "a", "extraction_type": "fact", "data": {"text": "river"}}\n'


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    executor = BoundedExecutor(2)
    yield executor.lane("embedding", limit=2, max_waiting=10, wait_timeout_s=30)
    assert executor.close(30)


@pytest.fixture
def stub() -> Iterator[EmbeddingStub]:
    with serving_embeddings(DIMENSION) as stub:
        yield stub


@pytest.fixture
def connections() -> Iterator[Connections]:
    connections = Connections(None)
    yield connections
    connections.close()


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """The most memory that Python's allocations took since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def embedder_at(url: str, lane: Lane, connections: Connections, seconds: float = 20.0) -> OpenAIEmbedder:
    settings = EmbeddingSettings(
        provider="openai",
        model="small",
        base_url=url,
        dimension=DIMENSION,
        batch_size=64,
        timeout=seconds,
        retry_timeout=seconds,
    )
    return OpenAIEmbedder(lane, connections, settings)


# --- lines ----------------------------------------------------------------------------------------


def read(content: io.BufferedReader, *, skip_invalid: bool) -> list[RowBatch]:
    reader = RowReader(
        JsonLines(ByteStream(content)), name="it", text_fields=("text",), skip_invalid=skip_invalid
    )
    return list(iter(lambda: reader.next_batch(100), None))


def unpacking_to(unpacked: bytes, times: int, after: bytes = b"") -> bytes:
    """A .gz of ``unpacked`` so many times, which costs the packing of one."""
    return gzip.compress(unpacked, 9) * times + gzip.compress(after)


def test_ten_megabytes_that_unpack_to_ten_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(unpacking_to(b"x" * 64 * MIB, 160))
    assert path.stat().st_size < 11 * MIB
    command = [*COMMAND, "ingest", str(path)]
    done, peak = run_measured(command, tmp_path, environment(QDRANT_MODE="memory"))
    assert done.returncode == 1
    assert b"line 1: the line is longer than 8 MiB" in done.stdout
    print(peak, "MiB")  # noqa: T201 - for who measures
    assert 50 < peak < 250


@pytest.mark.parametrize("skip_invalid", [True, False])
def test_a_line_that_unpacks_too_long_is_refused_and_the_next_is_read(
    skip_invalid: bool, peak: Callable[[], int]
) -> None:
    packed = unpacking_to(b"x" * 16 * MIB, 6, b"\n" + LINE)
    batches = read(io.BufferedReader(cast(Any, io.BytesIO(packed))), skip_invalid=skip_invalid)
    [reject] = [reject for batch in batches for reject in batch.rejects]
    assert (reject.line, reject.reason) == (1, "the line is longer than 8 MiB")
    assert [item.source_uri for batch in batches for item in batch.items] == ["a"]
    assert peak() < 4 * MAX_LINE_BYTES


def test_however_much_blank_is_not_the_end() -> None:
    packed = unpacking_to(b" " * (MIB - 2) + b"\r\n", 18, LINE)
    [batch] = read(io.BufferedReader(cast(Any, io.BytesIO(packed))), skip_invalid=True)
    assert [item.source_uri for item in batch.items] == ["a"]


def test_what_follows_too_much_blank_in_a_line_is_not_lost_silently() -> None:
    content = io.BufferedReader(cast(Any, io.BytesIO(b" " * (MAX_LINE_BYTES + 1) + LINE)))
    [batch] = read(content, skip_invalid=True)
    assert [reject.reason for reject in batch.rejects] == ["the line is longer than 8 MiB"]


# --- requests -------------------------------------------------------------------------------------

PACKED = {
    "gzip": gzip.compress(b"x" * MIB),
    "deflate": zlib.compress(b"x" * MIB),
    "br": b"\x0b\x02\x80hello\x03",
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(20),
    "GZIP": gzip.compress(b"{}"),
    "identity, gzip": gzip.compress(b"{}"),
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def test_no_route_unpacks_a_body(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    paths = [path for path, operations in document["paths"].items() if "post" in operations]
    assert len(paths) >= 8
    for path in paths:
        for encoding, body in PACKED.items():
            headers = {"content-encoding": encoding, "content-type": "application/json"}
            answer = await api.client.post(
                path.replace("{", "").replace("}", ""), content=body, headers=headers
            )
            problem_of(answer, 415, "content-encoding")
    # Nor does what else may say that a body is packed.
    body = gzip.compress(b"{}")
    head = b"POST /v1/projects HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    packed = b"transfer-encoding: gzip, chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert (await api.raw(head + packed)).startswith(b"HTTP/1.1 4")


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("status", [200, 400])
async def test_an_embedding_answer_that_unpacks_to_too_much(  # noqa: PLR0913, PLR0917 - fixtures
    stub: EmbeddingStub,
    lane: Lane,
    connections: Connections,
    peak: Callable[[], int],
    encoding: str,
    pack: Callable[[bytes], bytes],
    status: int,
) -> None:
    packed = pack(b"[" * 48 * MIB)
    tracemalloc.reset_peak()
    stub.script.append(Answer(status, packed, {"Content-Encoding": encoding}))
    with pytest.raises(EmbeddingError, match="has more than 8,388,608 bytes, too many for its vectors"):
        await embedder_at(stub.base_url, lane, connections).ping()
    assert peak() < 32 * MIB


async def test_an_answer_of_the_service_that_unpacks_to_too_much(stub: EmbeddingStub, lane: Lane) -> None:
    stub.script.append(Answer(200, gzip.compress(b"[" * 8 * MIB), {"Content-Encoding": "gzip"}))
    with open_http_client("") as client:
        service = Connection(stub.base_url, client, lane, Patience(answer_bytes=2 * MIB))
        with pytest.raises(ServiceError, match="more than 2,097,152 bytes; ask for less at once"):
            await service.post("/v1/jobs", {"input": []})


@asynccontextmanager
async def dripping() -> AsyncIterator[str]:
    """The URL of a server that answers every request a byte at a time, without an end."""

    answering: set[asyncio.Task[Any]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(cast("asyncio.Task[Any]", asyncio.current_task()))
        with suppress(ConnectionError, EOFError), closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"[")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for task in answering:
                task.cancel()
            await asyncio.gather(*answering, return_exceptions=True)


async def test_an_answer_without_an_end_is_given_up_and_its_thread_is_free(
    lane: Lane, connections: Connections
) -> None:
    async with dripping() as url:
        with pytest.raises(EmbeddingUnavailable, match=r"didn't (end|answer) in the time left"):
            await embedder_at(url, lane, connections, seconds=0.2).ping()
        await until(lambda: not lane.stats().active)


async def test_an_answer_of_the_service_without_an_end_is_given_up(lane: Lane) -> None:
    async with dripping() as url:
        with open_http_client("") as client:
            service = Connection(url, client, lane, Patience(all_tries_s=0.2))
            with pytest.raises(ServiceUnavailable, match=r"in time"):
                await service.get("/v1/jobs")
            await until(lambda: not lane.stats().active)


def test_an_answer_is_read_no_further_than_it_may_go() -> None:
    pieces = iter([b"ab", b"cd", b"ef"])
    with pytest.raises(AnswerTooLongError):
        read_within(pieces, most_bytes=3, until=float("inf"))
    assert list(pieces) == [b"ef"]
    with pytest.raises(AnswerTooSlowError):
        read_within(iter([b"ab"]), most_bytes=3, until=0.0)
    assert read_within(iter([b"a", b"bc"]), most_bytes=3, until=float("inf")) == b"abc"
