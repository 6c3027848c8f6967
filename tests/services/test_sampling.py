"""A scrape's SQL queries give the exact snapshot's figures, by indexes without the ended jobs."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, Select, event, insert, text, update
from support.exposition import run_jobs
from support.plans import plan
from support.rows import statements, store_extractions, writing

from app.database import Database, ReadSession
from app.domain.jobs import JobStatus
from app.errors import DatabaseError
from app.models import Base, Extraction, Job
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import duration_dialect_for
from app.services.metrics.sampling import _ORPHANS, _SET_ASIDE, StoreSampler, _open_jobs
from app.services.metrics.snapshot import StoreSample

JOB_TYPES = ("embed", "verify", "tidy")


@pytest.fixture
def collector(database: Database) -> MetricsCollector:
    return MetricsCollector(database, duration_dialect_for(database.dialect))


def store_jobs(engine: Engine, *jobs: Mapping[str, object]) -> None:
    with writing(engine) as session:
        session.execute(insert(Job), [dict(job) for job in jobs])


def counted(sample: StoreSample) -> dict[tuple[str, str], int]:
    ended = {(total.type, str(total.status)): total.jobs for total in sample.totals}
    return ended | dict(sample.open_jobs)


async def test_an_empty_database(collector: MetricsCollector) -> None:
    assert await collector.sample() == StoreSample((), {}, {}, 0, 0, 0)


async def test_it_agrees_with_the_exact_snapshot(engine: Engine, collector: MetricsCollector) -> None:
    with writing(engine) as session:
        for number, job_type in enumerate(JOB_TYPES, start=1):
            for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
                run_jobs(session, job_type, status, number)
        session.execute(
            insert(Job),
            [
                {"type": job_type, "status": status}
                for job_type in JOB_TYPES
                for status in ("queued", "queued", "running", "cancelling")
            ],
        )
        store_extractions(session, 3)
        aside = store_extractions(session, 2)
        session.execute(update(Extraction).where(Extraction.id.in_(aside)).values(set_aside_reason="no text"))

    exact, sample = await collector.collect(), await collector.sample()

    assert counted(sample) == exact.jobs
    assert (sample.extractions, sample.orphans, sample.set_aside) == (5, exact.orphans, exact.set_aside)
    durations = {total.type: total for total in sample.totals if total.status == JobStatus.COMPLETED}
    for job_type in JOB_TYPES:
        total, expected = durations[job_type], exact.job_durations[job_type]
        assert total.least is not None
        assert total.greatest is not None
        assert (total.timed, total.least / 1e6, total.greatest / 1e6) == (
            expected.count,
            expected.min_seconds,
            expected.max_seconds,
        )
        assert total.microseconds / (total.timed * 1_000_000) == expected.avg_seconds


async def test_pruned_jobs_still_count(engine: Engine, collector: MetricsCollector) -> None:
    with writing(engine) as session:
        run_jobs(session, "tidy", JobStatus.COMPLETED, 5)
    with writing(engine) as session:
        session.execute(text("DELETE FROM jobs"))
    [total] = (await collector.sample()).totals
    assert (total.type, total.jobs, total.timed) == ("tidy", 5, 5)


class TestAge:
    async def test_of_the_job_that_has_been_due_longest(
        self, engine: Engine, collector: MetricsCollector
    ) -> None:
        now = datetime.now(UTC)
        ages = (timedelta(hours=2), timedelta(hours=3), timedelta(minutes=1))
        store_jobs(engine, *({"type": "embed", "run_at": now - age} for age in ages))
        store_jobs(engine, {"type": "verify", "run_at": now - timedelta(days=1)})

        due = (await collector.sample()).due_seconds

        # The machine's own clock serves the test and the database.
        assert due["embed"] == pytest.approx(3 * 3600, abs=60)
        assert due["verify"] == pytest.approx(86_400, abs=60)

    async def test_jobs_that_run_or_are_not_due_have_none(
        self, engine: Engine, collector: MetricsCollector
    ) -> None:
        now = datetime.now(UTC)
        store_jobs(
            engine,
            {"type": "later", "status": "queued", "run_at": now + timedelta(hours=1)},
            {"type": "running", "status": "running", "run_at": now - timedelta(hours=1)},
            {"type": "cancelling", "status": "cancelling", "run_at": now - timedelta(hours=1)},
        )
        sample = await collector.sample()
        assert sample.due_seconds == {}
        assert sample.open_jobs == {
            ("later", "queued"): 1,
            ("running", "running"): 1,
            ("cancelling", "cancelling"): 1,
        }


class TestCost:
    async def test_one_transaction_on_one_thread(self, engine: Engine, collector: MetricsCollector) -> None:
        threads: list[int] = []
        event.listen(engine, "begin", lambda _connection: threads.append(threading.get_ident()))
        await collector.sample()
        assert len(threads) == 1
        assert threads[0] != threading.get_ident()

    @pytest.mark.slow
    def test_open_jobs_are_found_by_the_index_of_open_jobs(self, engine: Engine) -> None:
        """Ended jobs are stored as ended: one that was open first would leave an index entry."""
        ended = {"status": JobStatus.COMPLETED, "completed_at": datetime.now(UTC)}
        store_jobs(engine, *({"type": job_type, **ended} for job_type in JOB_TYPES for _ in range(500)))
        store_jobs(engine, *({"type": job_type} for job_type in JOB_TYPES))
        assert "ix_jobs_open" in plan(engine, lambda session: _open_jobs(session, datetime.now(UTC)))

    @pytest.mark.parametrize(
        ("asked", "index"),
        [(_ORPHANS, "ix_extractions_orphaned"), (_SET_ASIDE, "ix_extractions_set_aside")],
    )
    def test_what_has_no_vector_is_found_by_its_index(
        self, engine: Engine, asked: Select[tuple[int]], index: str
    ) -> None:
        with writing(engine) as session:
            store_extractions(session, 500)
            session.execute(update(Extraction).values(embedding_id="x"))
        assert index in plan(engine, lambda session: session.execute(asked))

    def test_extractions_are_not_counted_again_at_once(self, engine: Engine) -> None:
        sampler = StoreSampler(engine.dialect.name)

        def take() -> list[str]:
            with statements(engine) as sent, ReadSession(engine) as session:
                assert sampler.take(session).extractions == 0
            return sent

        sampler._count_at = 0.0
        first = take()
        sampler._count_at += 3600.0
        assert len(take()) == len(first) - 1

    async def test_a_refused_statement_is_our_error(self, engine: Engine, collector: MetricsCollector) -> None:
        Base.metadata.drop_all(engine)
        with pytest.raises(DatabaseError):
            await collector.sample()
