"""Over gRPC too, transient errors are retried, and permanent ones are raised at once."""

import asyncio
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from support.qdrant_grpc_stub import GrpcFault, QdrantGrpcStub
from support.qdrant_modes import empty
from support.settings import enter_empty_place, write_yaml

from app.config import load_settings
from app.errors import QdrantError, QdrantUnavailable
from app.executor import Lane
from app.retry import RetryPolicy
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import VectorClient
from app.services.storage.qdrant.repository import QdrantRepository
from app.settings.sections import QdrantSettings
from containers import create_container
from containers import running as running_container

pytestmark = pytest.mark.slow

DIMENSION = 4
ID = str(uuid.UUID(int=1))
VECTOR = [1.0, 2.0, 3.0, 4.0]
QUICK = RetryPolicy(total_s=20.0, first_delay_s=0.01, max_delay_s=0.02)

MakeRepository = Callable[..., QdrantRepository]


@pytest.fixture(scope="module")
def running() -> Iterator[QdrantGrpcStub]:
    with QdrantGrpcStub() as stub:
        yield stub


@pytest.fixture
def open_grpc(running: QdrantGrpcStub) -> Iterator[Callable[..., VectorClient]]:
    """Opens a client of the stub, or of another port; closes it after the test."""
    opened: list[VectorClient] = []

    def open_one(port: int = 0, timeout_s: int = 10, api_key: str | None = None) -> VectorClient:
        settings = QdrantSettings(
            url="http://127.0.0.1:1",  # only its host counts
            api_key=None if api_key is None else SecretStr(api_key),
            timeout=timeout_s,
            prefer_grpc=True,
            grpc_port=port or running.port,
        )
        opened.append(open_vector_client(settings, connections=4))
        return opened[-1]

    yield open_one
    for client in opened:
        client.close()


@pytest.fixture
def stub(running: QdrantGrpcStub, open_grpc: Callable[..., VectorClient]) -> QdrantGrpcStub:
    """With an empty collection; it has forgotten who asked for what."""
    running.faults.clear()
    client = open_grpc()
    client.create_collection(DIMENSION)
    empty(client, DIMENSION)
    running.requests.clear()
    running.api_keys.clear()
    return running


@pytest.fixture
def make_repository(
    stub: QdrantGrpcStub, open_grpc: Callable[..., VectorClient], make_lane: Callable[..., Lane]
) -> MakeRepository:
    def make(retry: RetryPolicy = QUICK, *, port: int = 0, timeout_s: int = 10) -> QdrantRepository:
        client = open_grpc(port or stub.port, timeout_s)
        return QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION, retry=retry)

    return make


TRANSIENT = {
    "unavailable": GrpcFault("UNAVAILABLE"),
    "deadline": GrpcFault("DEADLINE_EXCEEDED"),
    "exhausted": GrpcFault("RESOURCE_EXHAUSTED"),
    "internal": GrpcFault("INTERNAL"),
    "unknown": GrpcFault("UNKNOWN"),
    "cancelled": GrpcFault("CANCELLED"),
    "aborted": GrpcFault("ABORTED"),
    "done, and then no answer": GrpcFault("UNAVAILABLE", after_effect=True),
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
async def test_what_passes_is_tried_again(
    make_repository: MakeRepository, stub: QdrantGrpcStub, fault: GrpcFault
) -> None:
    repository = make_repository()
    stub.faults.extend([fault, fault])
    assert await repository.upsert(ID, VECTOR, {}) == ID
    assert [name for name, _ in stub.requests] == ["Upsert"] * 3
    stub.faults.append(fault)
    assert [str(found.extraction_id) for found in await repository.search(VECTOR, 1)] == [ID]


@pytest.mark.parametrize(
    "code",
    [
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "DATA_LOSS",
    ],
)
async def test_what_does_not_surfaces_at_once(
    make_repository: MakeRepository, stub: QdrantGrpcStub, code: str
) -> None:
    stub.faults.append(GrpcFault(code))
    expected = rf"upsert points \(collection 'extractions'\): gRPC {code}: a fault was ordered"
    with pytest.raises(QdrantError, match=expected) as raised:
        await make_repository().upsert(ID, VECTOR, {})
    assert not raised.value.retryable
    assert len(stub.requests) == 1


async def test_a_pause_asked_for_is_kept(make_repository: MakeRepository, stub: QdrantGrpcStub) -> None:
    stub.faults.append(GrpcFault("RESOURCE_EXHAUSTED", retry_after="3600"))
    with pytest.raises(QdrantUnavailable, match="a fault was ordered") as raised:
        await make_repository().count()
    assert raised.value.retry_after_s == 3600
    assert len(stub.requests) == 1


async def test_nobody_listening(make_repository: MakeRepository) -> None:
    repository = make_repository(RetryPolicy(total_s=0.5, first_delay_s=0.01), port=1)
    with pytest.raises(QdrantUnavailable, match=r"gRPC UNAVAILABLE.*refused"):
        await repository.ping()


async def test_a_server_that_restarts_is_found_again(make_lane: Callable[..., Lane]) -> None:
    """The next attempt finds it: a gRPC channel would wait for a second, and then ever longer."""
    with QdrantGrpcStub() as stub:
        settings = QdrantSettings(url="http://127.0.0.1:1", prefer_grpc=True, grpc_port=stub.port)
        client = open_vector_client(settings)
        repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION, retry=QUICK)
        await repository.init_collection()
        hasty = RetryPolicy(total_s=0.3, first_delay_s=0.01, max_delay_s=0.01)
        impatient = QdrantRepository(client, make_lane("hasty"), dimension=DIMENSION, retry=hasty)
        for _ in range(2):
            stub.stop()
            with pytest.raises(QdrantUnavailable):
                await impatient.count()
            stub.start()
            assert await repository.count() == 0
        client.close()


async def test_a_connection_without_an_answer_is_replaced(make_repository: MakeRepository) -> None:
    """It looks open, so only the call that ended without an answer can tell."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        calling = asyncio.create_task(make_repository(port=port, timeout_s=1).ping())
        held, _ = await asyncio.to_thread(silent.accept)
    with held, QdrantGrpcStub(port=port):
        await calling


def test_each_client_has_a_connection_of_its_own(
    stub: QdrantGrpcStub, open_grpc: Callable[..., VectorClient]
) -> None:
    stub.peers.clear()
    for _ in range(3):
        open_grpc().ping()
    assert len(stub.peers) == 3


async def test_the_api_key_is_sent_and_never_shown(
    stub: QdrantGrpcStub, open_grpc: Callable[..., VectorClient], make_lane: Callable[..., Lane]
) -> None:
    client = open_grpc(api_key="s3cret")
    stub.faults.append(GrpcFault("UNAUTHENTICATED"))
    repository = QdrantRepository(client, make_lane("qdrant"), dimension=DIMENSION, retry=QUICK)
    with (
        pytest.warns(UserWarning, match="insecure connection"),
        pytest.raises(QdrantError) as raised,
    ):
        await repository.ping()
    assert stub.api_keys == {"s3cret"}
    assert "s3cret" not in f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"


def test_every_setting_of_a_server_reaches_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_empty_place(tmp_path, monkeypatch)
    given = {
        "url": "https://q:1234",
        "api_key": "k",
        "timeout": 7,
        "prefer_grpc": True,
        "grpc_port": 4321,
        "ca_file": "ca.pem",
        "cert_file": "c.pem",
        "key_file": "k.pem",
        "shard_number": 6,
        "replication_factor": 3,
        "write_consistency_factor": 2,
    }
    written = write_yaml(tmp_path / "given.yml", {"qdrant": given, "executor": {"qdrant_limit": 3}})
    container = create_container(load_settings(written))
    settings = container.qdrant_settings()
    assert {name: getattr(settings, name) for name in given} == given | {"api_key": SecretStr("k")}
    assert container.lane_limits()["qdrant"] == 3
    assert list(container.qdrant_client.args) == [container.qdrant_settings, container.lane_limits]
    assert "'k'" not in repr(settings)


def test_a_container_speaks_grpc_where_its_settings_say_so(
    stub: QdrantGrpcStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_empty_place(tmp_path, monkeypatch)
    qdrant = {"url": "http://127.0.0.1:1", "prefer_grpc": True, "grpc_port": stub.port}
    settings = load_settings(write_yaml(tmp_path / "given.yml", {"qdrant": qdrant}))
    with running_container(create_container(settings)) as container:
        container.qdrant_client().ping()
    assert [name for name, _ in stub.requests] == ["CollectionExists"]
