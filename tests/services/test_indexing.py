"""The index jobs: marks, texts set aside, retries, and the identity of the embedder."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session
from support.parts import FIELDS, fill, index_all, make_item, open_container, settings_for
from support.rows import writing

from app.domain.jobs import JobType
from app.domain.search import Query
from app.domain.text import TextRules
from app.errors import (
    CollectionMissing,
    EmbedderMismatch,
    EmbeddingError,
    EmbeddingRejected,
    EmbeddingUnavailable,
    IndexMissing,
    IndexRebuilding,
    LeaseLost,
    TextsMismatch,
)
from app.executor import Lane
from app.models import Extraction, IndexState, Job
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import TextRole
from app.services.jobs.queueing import queue_embedding_again
from app.services.jobs.unit_of_work import UnfencedUnitOfWork
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.lease import LeaseRepository
from app.worker.outcomes import Completed
from containers import Container, create_container, running

COUNT = 20


class MoodyEmbedder(DeterministicEmbedder):
    """The deterministic embedder, failing where a test says so."""

    def __init__(self, lane: Lane, dimension: int = 32) -> None:
        super().__init__(lane, dimension)
        self.error: Exception | None = None
        self.poison: str | None = None
        self.broken: str | None = None
        self.asked = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.poison is not None and any(self.poison in text for text in texts):
            raise EmbeddingRejected("one of these texts is too long")
        vectors = await super().embed(texts, role)
        for vector, text in zip(vectors, texts, strict=True):
            if self.broken is not None and self.broken in text:
                vector[0] = np.nan
        return vectors


@pytest.fixture
def lane(make_lane: Callable[..., Lane]) -> Lane:
    return make_lane("fake")


@pytest.fixture
def embedder(lane: Lane) -> MoodyEmbedder:
    return MoodyEmbedder(lane)


@pytest.fixture
def container(tmp_path: Path, engine: Engine, embedder: MoodyEmbedder) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine, embedder=embedder) as container:
        yield container


def rows(engine: Engine) -> list[Extraction]:
    with Session(engine) as session:
        return list(session.scalars(select(Extraction)))


def jobs(engine: Engine) -> list[Job]:
    with Session(engine) as session:
        return list(session.scalars(select(Job).order_by(Job.created_at)))


async def test_a_job_marks_each_row_with_its_own_id(container: Container, engine: Engine) -> None:
    await fill(container, [make_item(n) for n in range(COUNT)])
    assert [row.embedding_id for row in rows(engine)] == [str(row.id) for row in rows(engine)]
    assert await container.qdrant_repository().existing_ids([row.id for row in rows(engine)]) == {
        row.id for row in rows(engine)
    }
    [job] = jobs(engine)
    assert (job.status, job.attempt, job.result) == (
        "completed",
        1,
        {"indexed": COUNT, "set_aside": 0, "cut": 0},
    )
    assert job.started_at is not None
    assert job.completed_at is not None
    assert job.started_at <= job.completed_at


async def test_without_a_job_there_is_nothing_to_run(container: Container) -> None:
    await container.indexing().prepare()
    assert await container.worker().run_one() is None


async def test_poison_is_set_aside_and_its_batch_goes_through(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    embedder.poison = "lantern"
    await fill(container, [make_item(n) for n in range(COUNT)])
    aside = [row for row in rows(engine) if row.set_aside_reason]
    assert {row.data["n"] for row in aside} == {8, 18}
    assert all(row.set_aside_reason == "one of these texts is too long" for row in aside)
    assert all(row.embedding_id is None for row in aside)
    assert sum(row.embedding_id is not None for row in rows(engine)) == COUNT - 2
    assert jobs(engine)[0].result == {"indexed": COUNT - 2, "set_aside": 2, "cut": 0}


async def test_a_passing_failure_puts_the_job_back(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    embedder.error = EmbeddingUnavailable("the endpoint doesn't answer")
    with pytest.raises(EmbeddingUnavailable):
        await fill(container, [make_item(n) for n in range(COUNT)])
    assert [job.status for job in jobs(engine)] == ["queued"]
    assert {row.embedding_id for row in rows(engine)} == {None}
    embedder.error = None
    assert await index_all(container) == COUNT
    assert [(job.status, job.attempt) for job in jobs(engine)] == [("completed", 2)]


async def test_a_lasting_failure_sets_nothing_aside(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    """A wrong API key is no fault of the texts."""
    embedder.error = EmbeddingError("401: no such key")
    with pytest.raises(EmbeddingError, match="no such key"):
        await fill(container, [make_item(n) for n in range(COUNT)])
    [job] = jobs(engine)
    assert (job.status, job.error) == ("failed", "401: no such key")
    assert {row.set_aside_reason for row in rows(engine)} == {None}


async def start_held_up(container: Container, embedder: MoodyEmbedder) -> asyncio.Task[Completed | None]:
    """A job that has begun to embed one item, and waits for the embedder's gate."""
    embedder.gate = asyncio.Event()
    await container.indexing().prepare()
    await container.ingestion().accept("papers", [make_item(1)])
    attempt = asyncio.create_task(container.worker().run_one())
    await embedder.asked.wait()
    return attempt


async def test_a_cancelled_job_goes_back_into_the_queue(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    attempt = await start_held_up(container, embedder)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert [job.status for job in jobs(engine)] == ["queued"]


async def test_a_row_deleted_while_it_is_embedded_leaves_no_vector(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    embedder.gate = asyncio.Event()
    await container.indexing().prepare()
    await container.ingestion().accept("papers", [make_item(n) for n in range(COUNT)])
    attempt = asyncio.create_task(container.worker().run_one())
    await embedder.asked.wait()
    with Session(engine) as session, session.begin():
        session.execute(delete(Extraction))
    embedder.gate.set()
    await attempt
    await index_all(container)
    assert await container.qdrant_repository().count() == 0
    assert [job.type for job in jobs(engine)] == [JobType.EMBED, JobType.DELETE_VECTORS]


async def test_a_vector_that_a_dead_attempt_left_behind_is_deleted_with_its_row(
    container: Container, engine: Engine
) -> None:
    """The deletion ran first; then the attempt upserted the vector and died before its check."""
    await container.indexing().prepare()
    accepted = await container.ingestion().accept("papers", [make_item(1)])
    with writing(engine) as session:
        [claimed] = LeaseRepository(session).claim(["embed"], limit=1, lease_s=60)
    await container.extractions().delete(accepted.ids[0])
    await container.worker().run_one([JobType.DELETE_VECTORS])
    await container.qdrant_repository().upsert(str(accepted.ids[0]), [1.0] * 32, {})
    with writing(engine) as session:
        LeaseRepository(session).expire_all()
    await index_all(container)
    assert await container.qdrant_repository().count() == 0
    assert [job.attempt for job in jobs(engine) if job.id == claimed.id] == [2]


async def test_the_result_counts_what_earlier_attempts_did(container: Container, engine: Engine) -> None:
    """The first attempt marked its rows and died before it was settled."""
    await container.indexing().prepare()
    accepted = await container.ingestion().accept("papers", [make_item(n) for n in range(COUNT)])
    with writing(engine) as session:
        LeaseRepository(session).claim(["embed"], limit=1, lease_s=60)
    await container.indexing().index(accepted.ids, UnfencedUnitOfWork(container.database()))
    with writing(engine) as session:
        LeaseRepository(session).expire_all()
    assert await index_all(container) == COUNT
    assert jobs(engine)[0].result == {"indexed": COUNT, "set_aside": 0, "cut": 0}


async def test_a_row_that_returns_between_an_upsert_and_its_mark_keeps_its_vector(
    container: Container, engine: Engine
) -> None:
    """The deletion removed the new vector too; the row is marked, but is embedded again."""
    items = [make_item(n) for n in range(3)]
    await fill(container, items)
    ids = (await container.ingestion().accept("papers", items)).ids
    await container.qdrant_repository().delete_batch([str(id_) for id_ in ids])
    with writing(engine) as session:
        queue_embedding_again(session, ids)
        ExtractionRepository(session).update_embedding_ids_batch(ids)
    await index_all(container)
    assert await container.qdrant_repository().count() == 3
    assert all(row.embedding_id == str(row.id) for row in rows(engine))


async def test_an_attempt_that_lost_its_lease_leaves_no_vector_of_a_deleted_row(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    late = await start_held_up(container, embedder)
    [row] = rows(engine)
    gate, embedder.gate = embedder.gate, None
    with writing(engine) as session:
        LeaseRepository(session).expire_all()
    await index_all(container)
    await container.extractions().delete(row.id)
    await index_all(container)
    assert await container.qdrant_repository().count() == 0
    assert gate is not None
    gate.set()
    with pytest.raises(LeaseLost):
        await late
    await index_all(container)
    assert await container.qdrant_repository().count() == 0


async def test_a_vector_that_cannot_be_stored_is_set_aside_and_its_batch_goes_through(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    embedder.broken = "lantern"
    await fill(container, [make_item(n) for n in range(COUNT)])
    aside = [row for row in rows(engine) if row.set_aside_reason]
    assert {row.data["n"] for row in aside} == {8, 18}
    assert all("not finite" in (row.set_aside_reason or "") for row in aside)
    assert sum(row.embedding_id is not None for row in rows(engine)) == COUNT - 2


async def test_deleting_a_project_deletes_its_vectors_and_no_others(
    container: Container, engine: Engine
) -> None:
    await fill(container, [make_item(n) for n in range(COUNT)], project="old")
    await fill(container, [make_item(n) for n in range(3)], project="kept")
    assert (await container.projects().delete("old")).extractions == COUNT
    assert len(rows(engine)) == 3
    await index_all(container)
    assert await container.qdrant_repository().count() == 3
    assert [project.name for project in await container.projects().list()] == ["kept"]


async def test_what_is_handed_in_again_before_its_vector_is_deleted_keeps_one(
    container: Container, engine: Engine
) -> None:
    items = [make_item(n) for n in range(COUNT)]
    await fill(container, items)
    await container.projects().delete("papers")
    await container.ingestion().accept("papers", items)
    await index_all(container)
    assert await container.qdrant_repository().count() == COUNT
    assert all(row.embedding_id == str(row.id) for row in rows(engine))


@pytest.mark.parametrize("mode", ["embedded", "memory"])
async def test_a_job_that_a_dead_process_left_running_is_run_again_where_no_other_can_run_it(
    tmp_path: Path, mode: str
) -> None:
    with open_container(tmp_path, mode=mode) as container:
        await container.indexing().prepare()
        await container.ingestion().accept("papers", [make_item(1)])
        with Session(container.engine()) as session, session.begin():
            job = session.scalars(select(Job)).one()
            job.status, job.attempt = "running", 1
            job.lease_expires_at = datetime.now(UTC) + timedelta(minutes=1)
        assert await index_all(container) == 0
        assert await container.worker().recover() == (1 if mode == "embedded" else 0)
        assert await index_all(container) == (1 if mode == "embedded" else 0)


@pytest.mark.slow
async def test_a_job_longer_than_its_lease_is_run_once(
    tmp_path: Path, engine: Engine, embedder: MoodyEmbedder
) -> None:
    settings = settings_for(tmp_path, worker={"lease_timeout": 0.3})
    with running(create_container(settings, engine=engine, embedder=embedder)) as container:
        attempt = await start_held_up(container, embedder)
        await asyncio.sleep(0.9)
        assert await container.worker().run_one() is None, "its lease was renewed"
        assert embedder.gate is not None
        embedder.gate.set()
        ended = await attempt
    assert ended is not None
    assert ended.result == {"indexed": 1, "set_aside": 0, "cut": 0}
    assert jobs(engine)[0].attempt == 1


async def test_a_row_that_returns_while_its_vector_is_deleted_gets_it_anew(
    container: Container, engine: Engine, tmp_path: Path
) -> None:
    """The deletion has looked at SQL, and the row comes back before the vector is gone."""
    items = [make_item(n) for n in range(3)]
    await fill(container, items)
    await container.projects().delete("papers")
    qdrant = container.qdrant_repository()
    deleting = qdrant.delete_batch

    async def return_first(ids: Collection[UUID | str]) -> int:
        await container.ingestion().accept("papers", items)
        await container.worker().run_one((JobType.EMBED,))
        return await deleting(ids)

    late = LateDeletion(qdrant, return_first)
    with open_container(
        tmp_path, engine=engine, qdrant_client=container.qdrant_client(), qdrant_repository=late
    ) as other:
        assert await other.worker().run_one((JobType.DELETE_VECTORS,)) is not None
    await index_all(container)
    assert await qdrant.count() == 3
    assert all(row.embedding_id == str(row.id) for row in rows(engine))


class LateDeletion(QdrantRepository):
    """The same repository, whose deletions begin with something else."""

    def __init__(
        self, real: QdrantRepository, delete: Callable[[Collection[UUID | str]], Awaitable[int]]
    ) -> None:
        vars(self).update(vars(real))
        self._delete_late = delete

    async def delete_batch(self, extraction_ids: Collection[UUID | str]) -> int:
        return await self._delete_late(extraction_ids)


class NotingEmbedder(DeterministicEmbedder):
    """Notes what it is given to embed."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane, 32)
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        self.texts += texts
        return await super().embed(texts, role)


# --- what made the vectors ------------------------------------------------------------------------


async def test_another_embedder_is_refused_with_the_way_out(
    container: Container, engine: Engine, tmp_path: Path, lane: Lane
) -> None:
    await fill(container, [make_item(1)])
    refused = pytest.raises(EmbedderMismatch, match=r"32 dimensions.*16 dimensions.*reindex")
    with open_container(tmp_path, engine=engine, embedder=DeterministicEmbedder(lane, 16)) as other, refused:
        await other.indexing().prepare()
    await container.indexing().prepare()


async def test_texts_made_otherwise_are_refused_with_the_way_out(
    container: Container, engine: Engine, tmp_path: Path
) -> None:
    await fill(container, [make_item(1)])
    refused = pytest.raises(TextsMismatch, match=r'"text", "summary"\], but .*leave_fields \["n"\]; .*reindex')
    rules = TextRules(FIELDS, leave=("n",))
    with open_container(tmp_path, engine=engine, text_rules=rules) as other:
        with refused:
            await other.indexing().prepare()
        await other.ingestion().accept("papers", [make_item(2)])
        with refused:
            await other.worker().run_one()
    assert [job.status for job in jobs(engine)] == ["completed", "queued"]  # for a matching worker
    assert len([row for row in rows(engine) if row.embedding_id]) == 1
    await container.indexing().prepare()


async def test_what_fields_mean_is_embedded_with_them(tmp_path: Path, lane: Lane) -> None:
    """The embedder gets the texts, and the words in a type's name and a key find the extraction."""
    noting = NotingEmbedder(lane)
    item = make_item(
        1, extraction_type="headcount", data={"employeeCount": 250, "confidence": 1, "id": str(UUID(int=7))}
    )
    with open_container(tmp_path, embedder=noting) as container:
        await fill(container, [item, make_item(2)])
    assert "headcount: employee count 250" in noting.texts
    assert make_item(2).data["fact_text"] in noting.texts


async def test_an_embedder_that_has_made_nothing_gives_way(tmp_path: Path, lane: Lane) -> None:
    with open_container(tmp_path, mode="embedded") as container:
        await container.indexing().prepare()
    with open_container(tmp_path, mode="embedded", embedder=DeterministicEmbedder(lane, 16)) as other:
        await fill(other, [make_item(1)])
        assert await other.qdrant_repository().count() == 1


async def test_nothing_is_marked_once_another_embedder_has_taken_over(
    container: Container, engine: Engine, embedder: MoodyEmbedder
) -> None:
    attempt = await start_held_up(container, embedder)
    with Session(engine) as session, session.begin():
        session.execute(update(IndexState).values(embedder_name="another"))
    assert embedder.gate is not None
    embedder.gate.set()
    with pytest.raises(EmbedderMismatch):
        await attempt
    assert [row.embedding_id for row in rows(engine)] == [None]
    assert [job.status for job in jobs(engine)] == ["queued"]


async def test_an_index_that_is_not_made_yet_is_not_a_lost_one(tmp_path: Path) -> None:
    with open_container(tmp_path, mode="embedded") as container:
        await container.qdrant_repository().drop_collection()
        with pytest.raises(CollectionMissing, match="isn't created yet"):
            await container.indexing().ping()
        await fill(container, [make_item(1)])
        await container.indexing().ping()
        await container.qdrant_repository().drop_collection()
        with pytest.raises(IndexMissing):
            await container.indexing().ping()


async def test_a_lost_collection_is_refused_and_can_be_repaired(tmp_path: Path) -> None:
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(5)])
    shutil.rmtree(tmp_path / "qdrant")
    with open_container(tmp_path, mode="embedded") as container:
        with pytest.raises(IndexMissing, match="agent-storage reindex"):
            await container.indexing().prepare()
        await container.indexing().prepare(repair=True)
        states = [state async for state in container.reconciliation().run(repair=True)]
        assert (states[-1].missing, states[-1].repaired_missing, states[-1].remaining) == (5, 5, 0)
        await container.indexing().prepare()


@pytest.mark.slow
async def test_a_reindex_whose_collection_was_lost_starts_over(tmp_path: Path) -> None:
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(60)])
        run = container.reindexing().run()
        await anext(run)
        await run.aclose()
    shutil.rmtree(tmp_path / "qdrant")
    with open_container(tmp_path, mode="embedded") as again:
        assert sum([batch.indexed async for batch in again.reindexing().run()]) == 60
        assert await again.qdrant_repository().count() == 60


@pytest.mark.slow
async def test_reindexing_rebuilds_with_another_embedder(tmp_path: Path, lane: Lane) -> None:
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(120)])
    with open_container(tmp_path, mode="embedded", embedder=DeterministicEmbedder(lane, 16)) as other:
        assert await other.reindexing().total() == 120
        assert sum([batch.indexed async for batch in other.reindexing().run()]) == 120
        await other.indexing().prepare()
        assert len(await other.search().search(Query("river", limit=1000))) == 120


@pytest.mark.slow
async def test_a_reindex_cut_short_is_refused_and_goes_on(tmp_path: Path) -> None:
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(120)])
        run = container.reindexing().run()
        assert (await anext(run)).indexed == 50
        await run.aclose()
    with open_container(tmp_path, mode="embedded") as again:
        with pytest.raises(IndexRebuilding, match="agent-storage reindex"):
            await again.indexing().prepare()
        assert await again.reindexing().total() == 70
        assert [batch.indexed async for batch in again.reindexing().run()] == [50, 20]
        await again.indexing().prepare()
        assert await again.qdrant_repository().count() == 120


@pytest.mark.slow
async def test_a_reindex_cut_short_before_its_first_batch_starts_over(tmp_path: Path, lane: Lane) -> None:
    embedder = MoodyEmbedder(lane, 16)
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(5)])
    embedder.error = EmbeddingUnavailable("not now")
    with open_container(tmp_path, mode="embedded", embedder=embedder) as other:
        with pytest.raises(EmbeddingUnavailable):
            [_ async for _ in other.reindexing().run()]
        embedder.error = None
        assert [batch.indexed async for batch in other.reindexing().run()] == [5]
        await other.indexing().prepare()
