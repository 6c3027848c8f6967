"""By default, a server is used over gRPC if that answers, else over HTTP."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import Cli
from support.processes import free_port
from support.qdrant_grpc_stub import GrpcFault, QdrantGrpcStub
from support.qdrant_stub import QdrantStub

from app.domain.filters import Filters
from app.services.storage.qdrant.adapter import QdrantClientAdapter
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import ClientFailure, PointQuery
from app.services.storage.qdrant.server import _may_have_grpc
from app.settings.sections import QdrantSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def rest() -> Iterator[QdrantStub]:
    with QdrantStub() as stub:
        yield stub


@pytest.fixture
def grpc(rest: QdrantStub) -> Iterator[QdrantGrpcStub]:
    with QdrantGrpcStub(rest.engine) as stub:
        yield stub


@contextmanager
def opened(url: str, grpc_port: int, **others: Any) -> Iterator[QdrantClientAdapter]:
    client = open_vector_client(QdrantSettings(url=url, grpc_port=grpc_port, **others), connections=2)
    assert isinstance(client, QdrantClientAdapter)
    try:
        yield client
    finally:
        client.close()


def test_grpc_if_it_answers(rest: QdrantStub, grpc: QdrantGrpcStub) -> None:
    with opened(rest.url, grpc.port) as client:
        assert client.protocol == ""
        client.create_collection(4)
        assert client.count() == 0
        assert client.protocol == "gRPC"
    assert not rest.requests


def test_http_if_grpc_does_not_answer(rest: QdrantStub) -> None:
    with opened(rest.url, free_port()) as client:
        client.create_collection(4)
        assert client.count() == 0
        assert client.protocol == "REST"


def test_a_server_that_refuses_the_key_by_grpc_has_answered(rest: QdrantStub, grpc: QdrantGrpcStub) -> None:
    grpc.faults += [GrpcFault("UNAUTHENTICATED")] * 2
    with opened(rest.url, grpc.port) as client, pytest.raises(ClientFailure, match="UNAUTHENTICATED"):
        client.count()
    assert not rest.requests


def test_another_service_at_the_grpc_port_is_let_alone(rest: QdrantStub, grpc: QdrantGrpcStub) -> None:
    grpc.faults.append(GrpcFault("UNIMPLEMENTED"))
    with opened(rest.url, grpc.port) as client:
        client.create_collection(4)
        assert client.protocol == "REST"
    assert len(grpc.requests) == 1


def test_a_server_that_comes_later_is_asked_again() -> None:
    rest_port, grpc_port = free_port(), free_port()
    with opened(f"http://127.0.0.1:{rest_port}", grpc_port) as client:
        with pytest.raises(ClientFailure):
            client.ping()
        with QdrantGrpcStub(port=grpc_port):
            # The connection over HTTP is kept for its own; the next one is made by gRPC.
            with client._clients.one(), client._clients.one() as (_, calls):
                assert calls.name == "gRPC"
            assert client.protocol == "gRPC"


@pytest.mark.parametrize(
    ("url", "grpc_port", "tried"),
    [
        ("http://qdrant:6333", 6334, True),
        ("http://qdrant", 6334, True),
        ("https://cloud.example:6333", 6334, True),
        ("http://qdrant:8080", 6334, False),
        ("http://qdrant:8080", 8081, True),
        ("http://qdrant:6333/prefix", 6334, False),
        ("http://qdrant:8080/prefix", 8081, False),
    ],
)
def test_where_the_port_may_be_another_servers_it_is_not_tried(
    url: str, grpc_port: int, *, tried: bool
) -> None:
    assert _may_have_grpc(QdrantSettings(url=url, grpc_port=grpc_port)) is tried


@pytest.mark.parametrize("prefer_grpc", [True, False])
def test_what_was_stored_by_either_is_read_by_the_other(
    rest: QdrantStub, grpc: QdrantGrpcStub, *, prefer_grpc: bool
) -> None:
    ids = [str(uuid.UUID(int=place)) for place in range(1, 4)]
    payloads: list[dict[str, Any]] = [
        {"project_id": "p", "confidence": 0.5, "generation": 3},
        {"project_id": "p", "confidence": None},
        {},
    ]
    vectors = np.eye(3, 4, dtype=np.float32)
    with (
        opened(rest.url, grpc.port, prefer_grpc=prefer_grpc) as one,
        opened(rest.url, grpc.port, prefer_grpc=not prefer_grpc) as other,
    ):
        one.create_collection(4)
        one.upsert(ids, vectors, payloads)
        for client in (one, other):
            assert client.retrieve(ids, payloads=True) == dict(zip(ids, payloads, strict=True))
            assert client.scroll(None, 2, None) == ({key: {} for key in ids[:2]}, ids[2])
            assert client.scroll(ids[2], 2, None) == ({key: {} for key in ids[2:]}, None)
            [found] = client.query_points(vectors[0], PointQuery(5, Filters(min_confidence=0.4)))
            assert (found.id, found.payload) == (ids[0], payloads[0])
            assert found.score == pytest.approx(1.0)


def test_doctor_says_which(rest: QdrantStub, grpc: QdrantGrpcStub, tmp_path: Path) -> None:
    cli = Cli(tmp_path, QDRANT_URL=rest.url, QDRANT_GRPC_PORT=str(grpc.port))
    cli("db", "upgrade")
    rows = {row["part"]: row for row in cli.json("doctor")["parts"]}
    assert rows["qdrant"]["note"] == "over gRPC"
    assert rows["database"]["note"] is None
    assert b"over gRPC" in cli("doctor").stdout
