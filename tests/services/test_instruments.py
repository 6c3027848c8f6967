"""What is measured where it happens, and who reports it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from support.parts import open_container

from app.errors import EmbeddingError, EmbeddingRejected, EmbeddingUnavailable, QdrantError, QdrantUnavailable
from app.executor import Lane
from app.retry import RetryPolicy
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import TextRole
from app.services.embedding.measured import MeasuredEmbedder
from app.services.metrics.instruments import Instruments, NullInstruments
from app.services.metrics.prometheus import PrometheusInstruments
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import ClientFailure, VectorClient
from app.services.storage.qdrant.repository import QdrantRepository
from app.settings.sections import QdrantSettings

Value = Callable[..., float | None]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def instruments(registry: CollectorRegistry) -> PrometheusInstruments:
    return PrometheusInstruments(registry)


@pytest.fixture
def value(registry: CollectorRegistry) -> Value:
    """``value(name, **labels)``: what is exported now; None for nothing. Without our prefix."""

    def look(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"agent_storage_{name}", labels)

    return look


@pytest.mark.parametrize("make", [lambda: PrometheusInstruments(CollectorRegistry()), NullInstruments])
def test_each_takes_every_measurement(make: Callable[[], Instruments]) -> None:
    instruments = make()
    instruments.job("embed", "completed", 0.1)
    instruments.qdrant("search", 0.1, failed=True)
    instruments.embedding(3, 0.1, failed=False)
    instruments.http("GET", "/v1/jobs", 200, 0.1)


class TestMeasurements:
    def test_jobs_by_type_and_outcome(self, instruments: PrometheusInstruments, value: Value) -> None:
        for outcome in ("completed", "completed", "retried"):
            instruments.job("embed", outcome, 0.5)
        name = "job_duration_seconds"
        assert value(f"{name}_count", type="embed", outcome="completed") == 2
        assert value(f"{name}_sum", type="embed", outcome="retried") == 0.5
        assert value(f"{name}_bucket", type="embed", outcome="completed", le="0.25") == 0
        assert value(f"{name}_bucket", type="embed", outcome="completed", le="0.5") == 2

    def test_requests_to_qdrant_and_their_failures(
        self, instruments: PrometheusInstruments, value: Value
    ) -> None:
        instruments.qdrant("search", 0.5, failed=False)
        assert value("qdrant_request_errors_total", operation="search") == 0
        instruments.qdrant("search", 0.5, failed=True)
        assert value("qdrant_request_errors_total", operation="search") == 1
        assert value("qdrant_request_duration_seconds_count", operation="search") == 2

    def test_texts_that_were_embedded(self, instruments: PrometheusInstruments, value: Value) -> None:
        instruments.embedding(100, 0.5, failed=False)
        instruments.embedding(10, 0.5, failed=True)
        assert value("embedded_texts_total") == 100
        assert value("embedding_errors_total") == 1
        assert value("embedding_duration_seconds_count") == 2

    def test_a_method_made_up_by_a_client_makes_no_series(
        self, instruments: PrometheusInstruments, value: Value
    ) -> None:
        for method in ("BREW", "SMUGGLE"):
            instruments.http(method, "/v1/jobs", 405, 0.5)
        labels = {"route": "/v1/jobs", "status": "405"}
        assert value("http_request_duration_seconds_count", method="OTHER", **labels) == 2
        assert value("http_request_duration_seconds_count", method="BREW", **labels) is None


class TestEmbedder:
    async def test_it_embeds_as_the_other_does(
        self, make_lane: Callable[..., Lane], instruments: PrometheusInstruments, value: Value
    ) -> None:
        embedder = DeterministicEmbedder(make_lane("embedding"), 8)
        measured = MeasuredEmbedder(embedder, instruments)
        assert measured.identity == embedder.identity
        await measured.ping()
        np.testing.assert_array_equal(await measured.embed(["a", "b"]), await embedder.embed(["a", "b"]))
        assert value("embedded_texts_total") == 2
        assert value("embedding_errors_total") == 0

    async def test_a_refused_text_is_reported_and_raised(
        self, make_lane: Callable[..., Lane], instruments: PrometheusInstruments, value: Value
    ) -> None:
        measured = MeasuredEmbedder(DeterministicEmbedder(make_lane("embedding"), 8), instruments)
        with pytest.raises(EmbeddingRejected):
            await measured.embed(["a", " "])
        assert value("embedded_texts_total") == 0
        assert value("embedding_errors_total") == 1

    async def test_another_shape_than_its_identity_promises_is_an_error_of_the_embedder(
        self, make_lane: Callable[..., Lane], instruments: PrometheusInstruments, value: Value
    ) -> None:
        """No text is to blame, so none may be set aside."""
        measured = MeasuredEmbedder(Shortening(make_lane("embedding"), 8), instruments)
        with pytest.raises(EmbeddingError, match=r"shape \(2, 7\) for 2 texts, .* 8 dimensions"):
            await measured.embed(["a", "b"])
        assert value("embedding_errors_total") == 1

    async def test_an_unknown_exception_of_an_embedder_is_taken_for_transient(
        self, make_lane: Callable[..., Lane], instruments: PrometheusInstruments, value: Value
    ) -> None:
        measured = MeasuredEmbedder(Raising(make_lane("embedding"), 8), instruments)
        with pytest.raises(EmbeddingUnavailable, match="failed: KeyError") as failed:
            await measured.embed(["a"])
        assert isinstance(failed.value.__cause__, KeyError)
        assert value("embedding_errors_total") == 1

    def test_every_consumer_has_it(self, tmp_path: Path) -> None:
        with open_container(tmp_path) as container:
            measured = container.measured_embedder()
            for consumer in (container.indexing(), container.reindexing(), container.meaning_search()):
                assert consumer._embedder is measured


class Shortening(DeterministicEmbedder):
    """Returns vectors that lack their last number."""

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`."""
        return (await super().embed(texts, role))[:, :-1]


class Raising(DeterministicEmbedder):
    """Has a bug."""

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`."""
        raise KeyError(texts[0], role)


class Failing:
    """A client that fails a few times before it answers."""

    def __init__(self, client: VectorClient, *failures: ClientFailure) -> None:
        self._client = client
        self._failures = list(failures)

    def count(self) -> int:
        if self._failures:
            raise self._failures.pop()
        return self._client.count()

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)


class TestQdrant:
    @pytest.fixture
    def repository(
        self, make_lane: Callable[..., Lane], instruments: PrometheusInstruments
    ) -> Callable[..., QdrantRepository]:
        def make(*failures: ClientFailure) -> QdrantRepository:
            client = Failing(open_vector_client(QdrantSettings(mode="memory")), *failures)
            retry = RetryPolicy(total_s=5.0, first_delay_s=0.0)
            return QdrantRepository(
                client,  # type: ignore[arg-type]  # it has the other's methods
                make_lane("qdrant", limit=1),
                dimension=4,
                retry=retry,
                instruments=instruments,
            )

        return make

    async def test_each_request_is_reported(
        self, repository: Callable[..., QdrantRepository], value: Value, unit: NDArray[np.float32]
    ) -> None:
        points = repository()
        await points.init_collection()
        await points.search(unit, 1)
        await points.search(unit, 1)
        assert value("qdrant_request_duration_seconds_count", operation="search") == 2
        assert value("qdrant_request_errors_total", operation="search") == 0
        assert value("qdrant_request_duration_seconds_count", operation="create the collection") == 1

    async def test_each_try_is_reported(
        self, repository: Callable[..., QdrantRepository], value: Value
    ) -> None:
        points = repository(*(ClientFailure("refused", transient=True) for _ in range(3)))
        await points.init_collection()
        assert await points.count() == 0
        assert value("qdrant_request_duration_seconds_count", operation="count points") == 4
        assert value("qdrant_request_errors_total", operation="count points") == 3

    async def test_a_failure_for_good(self, repository: Callable[..., QdrantRepository], value: Value) -> None:
        points = repository(ClientFailure("no"))
        with pytest.raises(QdrantError) as caught:
            await points.count()
        assert not isinstance(caught.value, QdrantUnavailable)
        assert value("qdrant_request_errors_total", operation="count points") == 1

    @pytest.fixture
    def unit(self) -> NDArray[np.float32]:
        return np.array([1, 0, 0, 0], np.float32)
