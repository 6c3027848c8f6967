"""Transient errors are retried within one deadline; permanent ones are raised at once."""

import asyncio
import socket
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr
from support.qdrant_modes import empty
from support.qdrant_stub import Fault, QdrantStub
from support.waiting import until

from app.errors import QdrantError, QdrantUnavailable
from app.executor import BoundedExecutor, Lane
from app.retry import RetryPolicy
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import VectorClient
from app.services.storage.qdrant.repository import EmbeddingItem, QdrantRepository
from app.settings.sections import QdrantSettings

DIMENSION = 4
ID = str(uuid.UUID(int=1))
VECTOR = [1.0, 2.0, 3.0, 4.0]
QUICK = RetryPolicy(total_s=20.0, first_delay_s=0.01, max_delay_s=0.02)

MakeRepository = Callable[..., QdrantRepository]


@pytest.fixture(scope="module")
def running() -> Iterator[QdrantStub]:
    with QdrantStub() as stub:
        yield stub


@pytest.fixture
def stub(running: QdrantStub) -> QdrantStub:
    """It has forgotten who asked for what, and what was ordered."""
    running.faults.clear()
    running.requests.clear()
    running.api_keys.clear()
    return running


@pytest.fixture
def lane(executor: BoundedExecutor) -> Lane:
    return executor.lane("qdrant", limit=8, max_waiting=1000, wait_timeout_s=30.0)


@pytest.fixture
def make_repository(stub: QdrantStub, lane: Lane) -> Iterator[MakeRepository]:
    opened: list[VectorClient] = []

    def make(retry: RetryPolicy = QUICK, *, url: str | None = None, timeout_s: int = 10) -> QdrantRepository:
        settings = QdrantSettings(url=url or stub.url, timeout=timeout_s)
        client = open_vector_client(settings, connections=lane.limit)
        opened.append(client)
        return QdrantRepository(client, lane, dimension=DIMENSION, retry=retry)

    yield make
    for client in opened:
        client.close()


@pytest.fixture
async def repository(make_repository: MakeRepository, stub: QdrantStub) -> QdrantRepository:
    """On an empty collection; the stub has forgotten the requests that made it."""
    repository = make_repository()
    await repository.init_collection()
    empty(repository._client, DIMENSION)
    stub.requests.clear()
    return repository


TRANSIENT = {
    "500": Fault(status=500),
    "502": Fault(status=502),
    "503": Fault(status=503),
    "504": Fault(status=504),
    "429": Fault(status=429),
    "429 that says when": Fault(status=429, retry_after="0"),
    "429 that says a date": Fault(status=429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "closed without an answer": Fault(cut=0),
    "closed within the head": Fault(cut=20),
    "closed within the body": Fault(cut=5_000),
    "reset without an answer": Fault(cut=0, reset=True),
    "reset within the body": Fault(cut=5_000, reset=True),
    "done, and then no answer": Fault(cut=0, after_effect=True),
}


@pytest.fixture(params=TRANSIENT)
def transient(request: pytest.FixtureRequest) -> Fault:
    return TRANSIENT[request.param]


class TestTransient:
    async def test_an_upsert_is_tried_again(
        self, repository: QdrantRepository, stub: QdrantStub, transient: Fault
    ) -> None:
        stub.faults.extend([transient, transient])
        assert await repository.upsert(ID, VECTOR, {}) == ID
        assert len(stub.requests) == 3
        assert await repository.count() == 1

    async def test_a_search_is_tried_again(
        self, repository: QdrantRepository, stub: QdrantStub, transient: Fault
    ) -> None:
        await repository.upsert(ID, VECTOR, {})
        stub.faults.append(transient)
        assert [str(found.extraction_id) for found in await repository.search(VECTOR, 1)] == [ID]

    async def test_a_deletion_done_before_its_answer_was_lost_still_counts(
        self, repository: QdrantRepository, stub: QdrantStub
    ) -> None:
        await repository.upsert(ID, VECTOR, {})
        stub.faults.extend([Fault(), Fault(cut=0, after_effect=True)])
        assert await repository.delete(ID) is True
        assert await repository.count() == 0

    async def test_a_collection_made_before_its_answer_was_lost_is_taken(
        self, make_repository: MakeRepository, stub: QdrantStub
    ) -> None:
        repository = make_repository()
        await repository.drop_collection()
        creation = [Fault(), Fault(), Fault(cut=0, after_effect=True)]
        stub.faults.extend(creation)
        await repository.init_collection()
        assert not stub.faults
        assert await repository.count() == 0

    @pytest.mark.slow
    @pytest.mark.usefixtures("repository")
    async def test_a_slow_answer_is_given_up_and_asked_for_again(
        self, make_repository: MakeRepository, stub: QdrantStub
    ) -> None:
        impatient = make_repository(timeout_s=1)
        # Without an effect, which would come while another test runs.
        stub.faults.append(Fault(delay_s=5.0, cut=0))
        assert await impatient.upsert(ID, VECTOR, {}) == ID
        assert len(stub.requests) == 2

    async def test_a_server_that_restarts_is_found_again(
        self, repository: QdrantRepository, stub: QdrantStub
    ) -> None:
        for _ in range(5):
            await repository.upsert(ID, VECTOR, {})
            stub.drop_connections()
        assert await repository.count() == 1


class TestForGood:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
    async def test_surfaces_at_once(self, repository: QdrantRepository, stub: QdrantStub, status: int) -> None:
        stub.faults.append(Fault(status=status))
        with pytest.raises(
            QdrantError, match=rf"upsert points \(collection 'extractions'\): HTTP {status}"
        ) as raised:
            await repository.upsert(ID, VECTOR, {})
        assert not raised.value.retryable
        assert (raised.value.operation, raised.value.collection) == ("upsert points", "extractions")
        assert len(stub.requests) == 1

    async def test_an_answer_that_is_not_qdrants_surfaces_at_once(
        self, repository: QdrantRepository, stub: QdrantStub
    ) -> None:
        stub.faults.append(Fault(status=200))
        with pytest.raises(QdrantError) as raised:
            await repository.search(VECTOR, 1)
        assert not raised.value.retryable
        assert len(stub.requests) == 1


@pytest.mark.slow
class TestDeadline:
    async def test_ends_all_tries_together(self, make_repository: MakeRepository, stub: QdrantStub) -> None:
        repository = make_repository(RetryPolicy(total_s=0.5, first_delay_s=0.01, max_delay_s=0.05))
        stub.faults.extend([Fault(status=503)] * 1_000)
        with pytest.raises(QdrantUnavailable, match=r"count points .* HTTP 503: .*\(within 0\.5 s\)") as raised:
            await repository.count()
        assert raised.value.retryable
        assert 2 <= len(stub.requests) < 1_000

    async def test_nobody_listening(self, make_repository: MakeRepository) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            repository = make_repository(RetryPolicy(total_s=0.5, first_delay_s=0.01), url=url)
            with pytest.raises(QdrantUnavailable, match="refused"):
                await repository.ping()

    async def test_a_name_nobody_has(self, make_repository: MakeRepository) -> None:
        repository = make_repository(RetryPolicy(total_s=0.3), url="http://qdrant.invalid:6333")
        with pytest.raises(QdrantUnavailable):
            await repository.ping()

    async def test_a_pause_beyond_it_is_not_begun(self, repository: QdrantRepository, stub: QdrantStub) -> None:
        stub.faults.append(Fault(status=429, retry_after="3600"))
        with pytest.raises(QdrantUnavailable, match="a fault was ordered"):
            await repository.upsert(ID, VECTOR, {})
        assert len(stub.requests) == 1

    async def test_counts_waiting_for_the_lane(
        self, make_repository: MakeRepository, lane: Lane, stub: QdrantStub
    ) -> None:
        repository = make_repository(RetryPolicy(total_s=0.2))
        stub.faults.extend([Fault(delay_s=0.6)] * lane.limit)
        others = [asyncio.create_task(make_repository().ping()) for _ in range(lane.limit)]
        await until(lambda: len(stub.requests) == lane.limit)
        with pytest.raises(QdrantUnavailable, match=r"count points .* no answer \(within 0\.2 s\)"):
            await repository.count()
        assert len(stub.requests) == lane.limit
        await asyncio.gather(*others)

    async def test_a_server_that_never_answers(self, make_repository: MakeRepository, stub: QdrantStub) -> None:
        repository = make_repository(RetryPolicy(total_s=0.3), timeout_s=1)
        stub.faults.append(Fault(delay_s=1.0))
        with pytest.raises(QdrantUnavailable, match=r"no answer \(within 0\.3 s\)"):
            await repository.ping()


async def test_a_pause_asked_for_is_kept_and_holds_no_thread(
    repository: QdrantRepository, lane: Lane, stub: QdrantStub
) -> None:
    stub.faults.append(Fault(status=503))
    stub.faults.append(Fault(status=429, retry_after="1"))
    started = time.monotonic()
    running = asyncio.create_task(repository.upsert(ID, VECTOR, {}))
    await until(lambda: len(stub.requests) == 2 and not lane.stats().active)
    assert not running.done()
    assert await repository.count() == 0
    await running
    assert time.monotonic() - started >= 1.0


async def test_a_pause_can_be_cancelled(repository: QdrantRepository, lane: Lane, stub: QdrantStub) -> None:
    stub.faults.append(Fault(status=429, retry_after="10"))
    running = asyncio.create_task(repository.upsert(ID, VECTOR, {}))
    await until(lambda: bool(stub.requests) and not lane.stats().active)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(stub.requests) == 1


async def test_a_failure_in_the_middle_of_a_batch_leaves_it_repeatable(
    repository: QdrantRepository, stub: QdrantStub
) -> None:
    items = [EmbeddingItem(str(uuid.UUID(int=n)), VECTOR, {}) for n in range(600)]
    stub.faults.extend([Fault(), Fault(status=400)])
    with pytest.raises(QdrantError):
        await repository.upsert_batch(items)
    assert 0 < await repository.count() < 600
    assert await repository.upsert_batch(items) == [item.extraction_id for item in items]
    assert await repository.count() == 600


@pytest.mark.usefixtures("repository")
async def test_many_callers_and_no_call_fails(stub: QdrantStub, lane: Lane) -> None:
    """Below the retries: threads never close each other's connections."""
    client = open_vector_client(QdrantSettings(url=stub.url), connections=lane.limit)
    before = stub.connections
    for _ in range(5):
        assert set(await asyncio.gather(*(lane.run(client.count) for _ in range(200)))) == {0}
    client.close()
    assert stub.connections - before <= lane.limit


async def test_the_api_key_is_sent_and_never_shown(stub: QdrantStub, lane: Lane) -> None:
    client = open_vector_client(QdrantSettings(url=stub.url, api_key=SecretStr("s3cret")))
    with pytest.warns(UserWarning, match="insecure connection"):
        client.ping()
    repository = QdrantRepository(client, lane, dimension=DIMENSION, retry=QUICK)
    stub.faults.append(Fault(status=403))
    with pytest.raises(QdrantError) as raised:
        await repository.ping()
    client.close()
    assert stub.api_keys == {"s3cret"}
    assert "s3cret" not in f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"
