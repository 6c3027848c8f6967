"""Concurrent use of the index: changing payloads, rebuilds, other embedders, other stores."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine
from support.api import Api, problem_of, raw_item, serving
from support.faulty_client import FaultyClient, When
from support.jobs import jobs_of, statuses
from support.parts import FIELDS, fill, index_all, make_item, open_container
from support.qdrant_modes import REAL_SERVERS, settings_of_real
from support.rows import statements, writing
from support.waiting import until

from app.domain.filters import Filters
from app.domain.items import Item, parse_item
from app.domain.jobs import JobType
from app.domain.search import Query, SearchMode
from app.domain.text import TextRules
from app.domain.upkeep import Differences
from app.errors import CollectionMissing, ForeignCollection, GenerationMismatch, IndexChanged, IndexRebuilding
from app.executor import Lane
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import EmbedderIdentity, TextRole
from app.services.index_use import identity_of, note_identity
from app.services.jobs.unit_of_work import UnfencedUnitOfWork
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import ClientFailure, VectorClient
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.lease import LeaseRepository
from app.settings.sections import QdrantSettings
from containers import Container

DIMENSION = 32


class GatedEmbedder(DeterministicEmbedder):
    """Counts its texts, and waits while its gate is closed."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane, DIMENSION)
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.texts = 0

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        self.texts += len(texts)
        self.asked.set()
        await self.gate.wait()
        return await super().embed(texts, role)


class ReversedEmbedder(DeterministicEmbedder):
    """Another model of the same size."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane, DIMENSION)
        self.identity = EmbedderIdentity("reversed", "1", DIMENSION)

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        vectors = await super().embed([" ".join(word[::-1] for word in text.split()) for text in texts], role)
        return np.ascontiguousarray(vectors[:, ::-1])


@pytest.fixture(params=["memory", *REAL_SERVERS])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorClient]:
    """On no collection, or on an empty one that no store has."""
    if request.param == "memory":
        client = open_vector_client(QdrantSettings(mode="memory", path=str(tmp_path)))
    else:
        client = open_vector_client(
            settings_of_real(request.param, collection=f"index-use-{os.getpid()}"), connections=4
        )
        client.delete_collection()
    yield client
    if request.param != "memory":
        with suppress(ClientFailure):  # a test has dropped it
            client.delete_collection()
    client.close()


@pytest.fixture
def lane(make_lane: Callable[..., Lane]) -> Lane:
    return make_lane("fake")


@pytest.fixture
def open_process(tmp_path: Path, engine: Engine, client: VectorClient) -> Iterator[Callable[..., Container]]:
    """``open_process(**replacements)``: one of several processes over the same stores."""
    with ExitStack() as stack:

        def open_(**replacements: object) -> Container:
            given: dict[str, Any] = {"engine": engine, "qdrant_client": client, **replacements}
            return stack.enter_context(open_container(tmp_path, batch_size=5, **given))

        yield open_


def confident(confidence: float | None, group: str | None = "group-0") -> Item:
    """One extraction, whose id doesn't depend on these."""
    return make_item(1, confidence=confidence, source_group=group)


async def compared(container: Container, *, repair: bool = False) -> Differences:
    return [found async for found in container.reconciliation().run(repair=repair)][-1]


async def rebuilt(container: Container) -> int:
    """A whole reindex; returns how many extractions got their vector."""
    return sum([batch.indexed async for batch in container.reindexing().run()])


async def found_by(container: Container, text: str, **filters: Any) -> list[tuple[float, Any]]:
    hits = await container.search().search(
        Query(text, "papers", 5, Filters(**filters), mode=SearchMode.MEANING)
    )
    return [(round(hit.score, 3), hit.extraction.data["n"]) for hit in hits]


# --- payloads -------------------------------------------------------------------------------------


class TestPayloads:
    async def test_what_a_slow_embedding_upserts_is_the_row_of_the_mark(
        self, open_process: Callable[..., Container], client: VectorClient, lane: Lane
    ) -> None:
        slow = GatedEmbedder(lane)
        first, second = open_process(embedder=slow), open_process()
        await first.indexing().prepare()
        accepted = await first.ingestion().accept("papers", [confident(0.1)])
        slow.gate.clear()
        attempt = asyncio.create_task(first.worker().run_one())
        await slow.asked.wait()
        await second.extractions().delete_batch("papers", accepted.ids)
        await second.ingestion().accept("papers", [confident(0.9)])
        await index_all(second)
        slow.gate.set()
        await attempt  # and with it the old payload, over the new one
        await index_all(second)
        [payload] = client.retrieve([str(id_) for id_ in accepted.ids], payloads=True).values()
        assert payload["confidence"] == 0.9
        assert await found_by(second, "mountain", min_confidence=0.5) == await found_by(second, "mountain")
        assert (await compared(second)).remaining == 0

    @pytest.mark.parametrize("mode", ["memory", "embedded"])
    async def test_a_stale_payload_is_found_and_set_without_embedding(
        self, tmp_path: Path, engine: Engine, lane: Lane, mode: Any
    ) -> None:
        embedder = GatedEmbedder(lane)
        with open_container(tmp_path, mode=mode, engine=engine, embedder=embedder) as container:
            await fill(container, [make_item(n) for n in range(12)])
            rows = await container.extractions().list("papers", Filters(), limit=12)
            stale, gone = [str(row.id) for row in rows[:5]], str(rows[5].id)
            repository = container.qdrant_repository()
            await repository.set_payloads({id_: {"confidence": 0.123} for id_ in [*stale, gone]})
            await container.extractions().delete(rows[5].id)
            await index_all(container)
            embedded = embedder.texts
            assert (await compared(container)).stale == 5
            repaired = await compared(container, repair=True)
            assert (repaired.stale, repaired.repaired_stale, repaired.remaining) == (5, 5, 0)
            assert await compared(container) == Differences(extractions=11, points=11)
            assert embedder.texts == embedded

    async def test_a_row_that_changes_while_its_payload_is_on_the_way_has_its_own_in_the_end(
        self, open_process: Callable[..., Container], engine: Engine, client: VectorClient
    ) -> None:
        faulty = FaultyClient(client)
        first, second = open_process(qdrant_client=faulty), open_process()
        await fill(first, [confident(0.1)])
        [row] = await first.extractions().list("papers", Filters(), limit=1)
        await first.qdrant_repository().set_payloads({str(row.id): {}})
        faulty.hold(When(1, done=False))
        unit = UnfencedUnitOfWork(first.database())
        sync = asyncio.create_task(first.indexing().sync_payloads([row.id], unit))
        await until(lambda: faulty.is_held)
        await second.extractions().delete(row.id)
        await second.ingestion().accept("papers", [confident(0.9)])
        await index_all(second)
        faulty.go_on()
        await sync
        assert [job.type for job in jobs_of(engine) if job.status == "queued"] == [JobType.UPDATE_PAYLOAD]
        await index_all(second)
        assert (await compared(second)).remaining == 0
        assert client.retrieve([str(row.id)], payloads=True)[str(row.id)]["confidence"] == 0.9

    async def test_points_of_before_generations_are_of_the_first(
        self, open_process: Callable[..., Container], client: VectorClient
    ) -> None:
        container = open_process()
        await fill(container, [make_item(1)])
        [row] = await container.extractions().list("papers", Filters(), limit=1)
        [payload] = client.retrieve([str(row.id)], payloads=True).values()
        del payload["generation"]
        client.set_payloads([(payload, [str(row.id)])])
        assert await compared(container) == Differences(extractions=1, points=1)


# --- rebuilding -----------------------------------------------------------------------------------


class TestRebuilding:
    async def test_what_other_workers_do_meanwhile_leaves_no_row_without_its_vector(
        self, open_process: Callable[..., Container], engine: Engine, client: VectorClient
    ) -> None:
        """One is held before its upsert, one after it; both continue on a new collection."""
        before, after = FaultyClient(client), FaultyClient(client)
        first = open_process()
        late = [open_process(qdrant_client=before), open_process(qdrant_client=after)]
        await fill(first, [make_item(n) for n in range(20)])
        await first.ingestion().accept("papers", [make_item(n) for n in range(20, 25)])
        await first.ingestion().accept("papers", [make_item(n) for n in range(25, 30)])
        before.hold(When(1, done=False))
        after.hold(When(1, done=True))
        attempts = [asyncio.create_task(each.worker().run_one()) for each in late]
        await until(lambda: before.is_held and after.is_held)
        rebuilt = sum([batch.indexed async for batch in first.reindexing().run()])
        before.go_on()
        after.go_on()
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert rebuilt == 30
        assert {type(outcome) for outcome in outcomes} == {IndexRebuilding}
        await index_all(first)
        assert statuses(engine)["failed"] == 0
        assert await compared(first) == Differences(extractions=30, points=30)

    async def test_what_is_searched_deleted_and_embedded_meanwhile(
        self, open_process: Callable[..., Container], engine: Engine
    ) -> None:
        container, other = open_process(), open_process()
        await fill(container, [make_item(n) for n in range(20)])
        rebuild = container.reindexing().run()
        await anext(rebuild)
        with pytest.raises(IndexRebuilding):
            await found_by(other, "mountain")
        with pytest.raises(IndexRebuilding):
            await compared(other)
        rows = await other.extractions().list("papers", Filters(), limit=20)
        await other.extractions().delete_batch("papers", [rows[0].id, rows[-1].id])
        await other.ingestion().accept("papers", [make_item(n) for n in range(20, 24)])
        for _ in range(4):  # neither is counted as a failure of the job's
            with pytest.raises(IndexRebuilding):
                await other.worker().run_one()
        assert {(job.status, job.failures) for job in jobs_of(engine) if job.completed_at is None} == {
            ("queued", 0)
        }
        async for _ in rebuild:
            pass
        await index_all(other)
        assert await compared(other) == Differences(extractions=22, points=22)
        assert len(await found_by(other, "mountain")) == 5

    async def test_a_reindex_that_drops_late_leaves_no_row_of_another_without_its_vector(
        self, open_process: Callable[..., Container], client: VectorClient
    ) -> None:
        """Two are started at once, and one waits before its drop until the other is through."""
        late = FaultyClient(client)
        first, second = open_process(), open_process(qdrant_client=late)
        await fill(first, [make_item(n) for n in range(20)])
        late.hold(When(2, done=False))
        dropping = asyncio.create_task(rebuilt(second))
        await until(lambda: late.is_held)
        assert await rebuilt(first) == 20
        late.go_on()
        assert await dropping == 20
        assert await compared(first) == Differences(extractions=20, points=20)

    async def test_a_reindex_that_another_has_overtaken_ends_neither_well_nor_the_others(
        self, open_process: Callable[..., Container], lane: Lane
    ) -> None:
        """The other has another embedder; the first has embedded all, but hasn't finished."""
        gated = GatedEmbedder(lane)
        first, second = open_process(), open_process(embedder=gated)
        await fill(first, [make_item(n) for n in range(5)])
        overtaken = first.reindexing().run()
        await anext(overtaken)
        gated.identity = EmbedderIdentity("gated", "1", DIMENSION)
        gated.gate.clear()
        other = asyncio.create_task(rebuilt(second))
        await gated.asked.wait()
        with pytest.raises(IndexRebuilding):
            await anext(overtaken)
        with pytest.raises(IndexRebuilding):
            await found_by(first, "mountain")
        gated.gate.set()
        assert await other == 5
        assert await compared(second) == Differences(extractions=5, points=5)

    async def test_a_start_with_another_embedder_ends_no_rebuild(
        self, open_process: Callable[..., Container], lane: Lane
    ) -> None:
        """At the rebuild's first batch nothing is marked, and the collection is empty."""
        gated = GatedEmbedder(lane)
        old, new = open_process(), open_process(embedder=gated)
        await fill(old, [make_item(n) for n in range(20)])
        gated.identity = EmbedderIdentity("gated", "1", DIMENSION)
        gated.gate.clear()
        rebuild = asyncio.create_task(rebuilt(new))
        await gated.asked.wait()
        with pytest.raises(IndexRebuilding):
            await old.indexing().prepare()
        gated.gate.set()
        assert await rebuild == 20
        assert await compared(new) == Differences(extractions=20, points=20)

    @pytest.mark.parametrize("repair", [False, True])
    async def test_a_verify_that_spans_a_rebuild_finds_nothing_and_clears_no_mark(
        self, open_process: Callable[..., Container], client: VectorClient, *, repair: bool
    ) -> None:
        slow = FaultyClient(client)
        first, second = open_process(), open_process(qdrant_client=slow)
        await fill(first, [make_item(n) for n in range(20)])
        slow.hold(When(2, done=True))
        comparison = asyncio.create_task(compared(second, repair=repair))
        await until(lambda: slow.is_held)
        assert await rebuilt(first) == 20
        slow.go_on()
        with pytest.raises(IndexRebuilding):
            await comparison
        assert await compared(first) == Differences(extractions=20, points=20)

    async def test_readiness_and_searches_over_http_say_so(self, tmp_path: Path, engine: Engine) -> None:
        async with serving(tmp_path, engine=engine) as api:
            await api.accepted([raw_item(n) for n in range(120)])
            await api.work()
            assert (await api.client.get("/health/ready")).status_code == 200
            rebuild = api.container.reindexing().run()
            await anext(rebuild)
            refused = await searched(api)
            problem_of(refused, 503, "index-rebuilding")
            assert int(refused.headers["retry-after"]) > 0
            ready = await api.client.get("/health/ready")
            assert ready.status_code == 503
            assert [part["part"] for part in ready.json()["parts"] if not part["ok"]] == ["index"]
            async for _ in rebuild:
                pass
            assert (await searched(api)).status_code == 200
            assert (await api.client.get("/health/ready")).status_code == 200

    async def test_without_a_collection_nothing_is_searched_and_nobody_is_sent_here(
        self, tmp_path: Path, engine: Engine
    ) -> None:
        async with serving(tmp_path, engine=engine) as api:
            await api.accepted([raw_item(1)])
            await api.container.qdrant_repository().drop_collection()
            problem_of(await searched(api), 503, "index-not-usable")
            assert (await api.client.get("/health/ready")).status_code == 503
            with pytest.raises(CollectionMissing):
                await found_by(api.container, "mountain")


async def searched(api: Api) -> Any:
    return await api.client.post("/v1/projects/papers/search", json={"query": "mountain", "mode": "meaning"})


# --- two embedders --------------------------------------------------------------------------------


class TestTwoEmbedders:
    async def test_who_still_embeds_with_the_old_one_finds_nothing_wrong(
        self, open_process: Callable[..., Container], lane: Lane
    ) -> None:
        old, new = open_process(), open_process(embedder=ReversedEmbedder(lane))
        await fill(old, [make_item(n) for n in range(20)])
        before = await found_by(old, make_item(7).data["fact_text"])
        async for _ in new.reindexing().run():
            pass
        with pytest.raises(IndexChanged, match="reversed 1"):
            await found_by(old, "mountain")
        with pytest.raises(IndexChanged):  # whether or not anything would be found
            await found_by(old, "mountain", extraction_types=("none",))
        after = await found_by(new, make_item(7).data["fact_text"])
        assert after[0] == before[0] == (1.0, 7)

    async def test_who_still_makes_the_old_texts_finds_nothing_either(
        self, open_process: Callable[..., Container]
    ) -> None:
        old, new = open_process(), open_process(text_rules=TextRules(("n", "fact_text")))
        await fill(old, [make_item(n) for n in range(3)])
        await rebuilt(new)
        with pytest.raises(IndexChanged, match=r'\["n", "fact_text"\], and this process uses .*"summary"'):
            await found_by(old, "mountain")
        with pytest.raises(IndexChanged):
            await found_by(old, "mountain", extraction_types=("none",))
        assert len(await found_by(new, "mountain")) == 3

    async def test_a_rebuild_with_other_texts_begins_again(
        self, open_process: Callable[..., Container]
    ) -> None:
        """What was made before it was cut short isn't kept."""
        old, new = open_process(), open_process(text_rules=TextRules(("n", "fact_text")))
        await fill(old, [make_item(n) for n in range(12)])
        async for _ in old.reindexing().run():
            break
        assert await old.reindexing().total() == 7
        assert await new.reindexing().total() == 12
        assert await rebuilt(new) == 12
        await new.indexing().prepare()

    async def test_the_check_costs_no_query_of_its_own(
        self, open_process: Callable[..., Container], engine: Engine
    ) -> None:
        container = open_process()
        await fill(container, [make_item(n) for n in range(20)])
        with statements(engine) as sent:
            assert await found_by(container, "mountain")
        looking, reading = sent
        assert "index_state" in looking, "in the statement that looks which points have a row"
        assert "extractions" in looking
        assert "index_state" not in reading

    async def test_a_vector_of_the_old_one_that_comes_late_is_replaced(
        self, open_process: Callable[..., Container], client: VectorClient, lane: Lane
    ) -> None:
        late = FaultyClient(client)
        old, new = open_process(qdrant_client=late), open_process(embedder=ReversedEmbedder(lane))
        await fill(new, [])
        async for _ in new.reindexing().run():
            pass
        async for _ in old.reindexing().run():
            pass
        await old.ingestion().accept("papers", [make_item(7)])
        late.hold(When(1, done=False))
        attempt = asyncio.create_task(old.worker().run_one())
        await until(lambda: late.is_held)
        async for _ in new.reindexing().run():
            pass
        late.go_on()
        with pytest.raises(Exception, match=r"rebuil|made by"):
            await attempt
        await index_all(new)
        assert await found_by(new, make_item(7).data["fact_text"]) == [(1.0, 7)]

    async def test_one_that_comes_after_its_lease_is_lost_is_replaced_too(
        self, open_process: Callable[..., Container], engine: Engine, client: VectorClient, lane: Lane
    ) -> None:
        late = FaultyClient(client)
        old, new = open_process(qdrant_client=late), open_process(embedder=ReversedEmbedder(lane))
        await fill(old, [make_item(7)])
        await old.ingestion().accept("papers", [make_item(n) for n in range(3)])
        late.hold(When(1, done=False))
        attempt = asyncio.create_task(old.worker().run_one())
        await until(lambda: late.is_held)
        assert await rebuilt(new) == 4
        with writing(engine) as session:
            LeaseRepository(session).expire_all()
        await index_all(new)
        late.go_on()
        with suppress(Exception):
            await attempt
        # What the late vectors would rank is passed over, and their rows are embedded again.
        late_only = await new.search().search(
            Query(make_item(2).data["fact_text"], "papers", 1, mode=SearchMode.MEANING)
        )
        assert [hit.extraction.data["n"] for hit in late_only] == [7]
        assert await found_by(new, make_item(7).data["fact_text"]) == [(1.0, 7)]
        await index_all(new)
        assert await compared(new) == Differences(extractions=4, points=4)
        assert (await found_by(new, make_item(2).data["fact_text"]))[0] == (1.0, 2)

    async def test_a_database_of_before_a_reindex_takes_no_vector_of_its_successor_for_its_own(
        self, open_process: Callable[..., Container], engine: Engine, lane: Lane
    ) -> None:
        """As after the restore of an older backup, which refers to an index that was replaced."""
        old, new = open_process(), open_process(embedder=ReversedEmbedder(lane))
        await fill(old, [make_item(n) for n in range(20)])
        await rebuilt(new)
        with writing(engine) as session:
            note_identity(session, identity_of(old.embedder(), old.text_rules()))
        with pytest.raises(GenerationMismatch, match="verify --repair"):
            await found_by(old, make_item(7).data["fact_text"])
        assert (await compared(old, repair=True)).remaining == 0
        assert (await found_by(old, make_item(7).data["fact_text"]))[0] == (1.0, 7)


# --- two stores -----------------------------------------------------------------------------------


@contextmanager
def deployment(folder: Path, client: VectorClient) -> Iterator[Container]:
    """A separate store under ``folder``, on the same collection."""
    folder.mkdir()
    with open_container(folder, batch_size=5, qdrant_client=client) as container:
        yield container


class TestTwoStores:
    async def test_each_refuses_the_others_collection_in_words(
        self, tmp_path: Path, client: VectorClient
    ) -> None:
        with (
            deployment(tmp_path / "production", client) as production,
            deployment(tmp_path / "staging", client) as staging,
        ):
            await fill(production, [make_item(n) for n in range(20)])
            await staging.ingestion().accept("papers", [make_item(n) for n in range(3)])
            for refused in (
                lambda: staging.indexing().prepare(),
                lambda: staging.indexing().prepare(repair=True),
                lambda: compared(staging),
                lambda: compared(staging, repair=True),
                lambda: anext(staging.reindexing().run()),
            ):
                with pytest.raises(ForeignCollection, match=r"qdrant\.collection.*agent-storage adopt"):
                    await refused()
            assert client.count() == 20
            assert await compared(production) == Differences(extractions=20, points=20)

    async def test_one_is_taken_over_on_purpose(self, tmp_path: Path, client: VectorClient) -> None:
        with (
            deployment(tmp_path / "lost", client) as lost,
            deployment(tmp_path / "restored", client) as restored,
        ):
            await fill(lost, [make_item(n) for n in range(20)])
            await restored.ingestion().accept("papers", [make_item(n) for n in range(15)])
            await restored.ownership().adopt()
            await restored.indexing().prepare()
            assert (await compared(restored, repair=True)).remaining == 0
            await index_all(restored)
            assert await compared(restored) == Differences(extractions=15, points=15)
            with pytest.raises(ForeignCollection):
                await lost.indexing().prepare()

    async def test_a_collection_that_names_no_store_is_adopted_by_the_one_whose_points_it_holds(
        self, tmp_path: Path, client: VectorClient
    ) -> None:
        client.create_collection(DIMENSION)
        with (
            deployment(tmp_path / "ours", client) as ours,
            deployment(tmp_path / "other", client) as other,
        ):
            items = [make_item(n) for n in range(20)]
            accepted = await ours.ingestion().accept("papers", items)
            vectors = np.eye(20, DIMENSION, dtype=np.float32)
            client.upsert([str(id_) for id_ in accepted.ids], vectors, [{}] * 20)
            with pytest.raises(ForeignCollection, match="aren't in this database"):
                await other.indexing().prepare()
            await ours.indexing().prepare()
            found = client.get_collection()
            assert found is not None
            assert found.owner == await ours.ownership().store_id()

    async def test_an_empty_collection_that_names_no_store_is_adopted(
        self, open_process: Callable[..., Container], client: VectorClient
    ) -> None:
        client.create_collection(DIMENSION)
        await fill(open_process(), [make_item(1)])
        assert client.count() == 1

    def test_a_store_has_one_id_however_many_ask_first(self, engine: Engine) -> None:
        made = []
        for _ in range(2):
            with writing(engine) as session:
                made.append(IndexStateRepository(session).make_store_id())
        assert made[0] == made[1]


def test_the_items_of_these_tests_have_one_id() -> None:
    """The payload tests rest on it."""
    raw = {"source_uri": "a", "extraction_type": "b", "data": {"text": "c"}}
    first, second = (parse_item({**raw, "confidence": each}, FIELDS) for each in (0.1, 0.9))
    assert first.canonical_data == second.canonical_data
