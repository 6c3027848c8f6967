"""A real Qdrant server with keys and TLS, and one restored from an older snapshot."""

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from support.parts import fill, index_all, make_item, settings_for
from support.qdrant_server import HOW_TO, RealServer, own_server
from support.qdrant_tls import make_certificates

from app.domain.ids import project_id_of
from app.domain.items import extraction_id_of
from app.domain.search import Query, SearchMode
from app.errors import QdrantError, QdrantUnavailable
from app.executor import BoundedExecutor
from app.retry import RetryPolicy
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.repository import QdrantRepository
from app.settings.sections import QdrantSettings
from containers import create_container, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("TEST_QDRANT_BINARY" not in os.environ, reason=HOW_TO),
]

KEY, READ_ONLY = "the-key-of-the-test", "a-key-that-only-reads"
ID, VECTOR = str(uuid.UUID(int=7)), [1.0, 2.0, 3.0, 4.0]


@pytest.fixture(params=[False, True], ids=["rest", "grpc"])
def by_grpc(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@contextmanager
def repository(server: RealServer, executor: BoundedExecutor, **settings: Any) -> Iterator[QdrantRepository]:
    given = QdrantSettings(url=server.url, grpc_port=server.grpc_port, collection="secured", **settings)
    client = open_vector_client(given, connections=2)
    lane = executor.lane(f"qdrant-{uuid.uuid4().hex[:6]}", limit=2, max_waiting=10, wait_timeout_s=30.0)
    try:
        yield QdrantRepository(
            client, lane, dimension=4, collection="secured", retry=RetryPolicy(2.0, first_delay_s=0.05)
        )
    finally:
        client.close()


@pytest.fixture(scope="module")
def keyed() -> Iterator[RealServer]:
    with own_server(QDRANT__SERVICE__API_KEY=KEY, QDRANT__SERVICE__READ_ONLY_API_KEY=READ_ONLY) as server:
        yield server


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
async def test_keys_are_asked_for(keyed: RealServer, executor: BoundedExecutor, by_grpc: bool) -> None:
    with ExitStack() as stack:

        def opened(key: str | None) -> QdrantRepository:
            secret = None if key is None else SecretStr(key)
            return stack.enter_context(repository(keyed, executor, api_key=secret, prefer_grpc=by_grpc))

        writer, reader = opened(KEY), opened(READ_ONLY)
        await writer.init_collection()
        await writer.upsert(ID, VECTOR, {"project_id": ID})
        [found] = await reader.search(VECTOR, 1)
        assert str(found.extraction_id) == ID
        with pytest.raises(QdrantError, match=r"403|PERMISSION_DENIED|[Ww]rite access") as caught:
            await reader.upsert(ID, VECTOR, {})
        assert not isinstance(caught.value, QdrantUnavailable)  # and so it isn't tried again
        for key in (None, "another-key"):
            with pytest.raises(QdrantError, match=r"401|UNAUTHENTICATED") as refused:
                await opened(key).search(VECTOR, 1)
            assert not isinstance(refused.value, QdrantUnavailable)
            assert KEY not in str(refused.value)


async def test_tls_by_an_authority_of_one_s_own(
    tmp_path: Path, executor: BoundedExecutor, by_grpc: bool
) -> None:
    certificates = make_certificates(tmp_path)
    tls = {
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": certificates.file("server.pem"),
        "QDRANT__TLS__KEY": certificates.file("server.key"),
    }
    with own_server(**tls) as server:
        with repository(server, executor, ca_file=certificates.file("ca.pem"), prefer_grpc=by_grpc) as trusting:
            await trusting.init_collection()
            await trusting.upsert(ID, VECTOR, {})
            assert await trusting.count() == 1
        with repository(server, executor, prefer_grpc=by_grpc) as other, pytest.raises(QdrantError):
            await other.count()


async def test_an_older_snapshot_is_seen_and_repaired(tmp_path: Path) -> None:
    with own_server() as server:
        qdrant = {"mode": "server", "url": server.url, "grpc_port": server.grpc_port}
        with running(create_container(settings_for(tmp_path, qdrant=qdrant))) as container:
            await fill(container, [make_item(number) for number in range(60)])
            path = f"{server.url}/collections/extractions/snapshots"
            snapshot = httpx2.post(path, timeout=60).json()["result"]["name"]
            await container.ingestion().accept("papers", [make_item(number) for number in range(60, 100)])
            gone = [extraction_id_of(project_id_of("papers"), make_item(number)) for number in range(10)]
            await container.extractions().delete_batch("papers", gone)
            await index_all(container)
            body = {"location": f"{path}/{snapshot}"}
            httpx2.put(f"{path}/recover", json=body, params={"wait": "true"}, timeout=60).raise_for_status()
            found = await last(container.reconciliation().run())
            assert (found.missing, found.ghosts, found.remaining) == (40, 10, 50)
            repaired = await last(container.reconciliation().run(repair=True))
            assert repaired.remaining == 0
            assert (await last(container.reconciliation().run())).remaining == 0
            hits = await container.search().search(
                Query("river 99", "papers", limit=100, mode=SearchMode.MEANING)
            )
            assert len(hits.hits) == 90


async def last(states: Any) -> Any:
    found = None
    async for state in states:
        found = state
    return found
