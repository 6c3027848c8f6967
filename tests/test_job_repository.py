"""Jobs: claimed once, under a lease with a fence, on the database's clock."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session
from support.plans import plan
from support.rows import writing

from app.errors import LeaseLost, NotFound
from app.models import Job, JobId, JobStatus, JobType
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.job import ClaimedJob, JobRepository

LEASE_S = 60.0
NO_LEASE_S = -1.0


def queue(engine: Engine, *priorities: int, kind: str = "embed") -> list[JobId]:
    with writing(engine) as session:
        return [JobRepository(session).create(kind, {"n": priority}, priority) for priority in priorities]


def claim(engine: Engine, *, limit: int = 1, lease_s: float = LEASE_S) -> list[ClaimedJob]:
    with writing(engine) as session:
        return JobRepository(session).claim(["embed"], limit=limit, lease_s=lease_s)


def get(engine: Engine, job_id: JobId) -> Job:
    with writing(engine) as session:
        return JobRepository(session).get(job_id)


class TestCreate:
    def test_queues(self, engine: Engine) -> None:
        with writing(engine) as session:
            job_id = JobRepository(session).create(JobType.EMBED, {"extraction_ids": []}, priority=3)
        job = get(engine, job_id)
        assert (job.type, job.status, job.priority, job.attempt) == ("embed", JobStatus.QUEUED, 3, 0)
        assert job.payload == {"extraction_ids": []}
        assert (job.result, job.error, job.started_at, job.completed_at, job.lease_expires_at) == (None,) * 5

    def test_is_undone_with_its_transaction(self, engine: Engine) -> None:
        def create_and_fail() -> None:
            with writing(engine) as session:
                JobRepository(session).create("embed", {})
                raise KeyError

        with pytest.raises(KeyError):
            create_and_fail()
        assert claim(engine) == []

    def test_get_names_what_is_not_there(self, engine: Engine) -> None:
        with pytest.raises(NotFound, match="no job"):
            get(engine, JobId(uuid.uuid4()))


class TestClaim:
    def test_takes_the_most_urgent_then_the_oldest(self, engine: Engine) -> None:
        old, urgent, young = queue(engine, 0, 5, 0)
        assert [job.id for job in claim(engine, limit=2)] == [urgent, old]
        assert [job.id for job in claim(engine, limit=2)] == [young]
        assert claim(engine) == []

    def test_starts_the_job_under_a_lease(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 7)
        assert claim(engine) == [ClaimedJob(job_id, "embed", {"n": 7}, 1)]
        job = get(engine, job_id)
        assert job.status == JobStatus.RUNNING
        assert job.started_at is not None
        assert job.lease_expires_at is not None
        assert timedelta(seconds=59) < job.lease_expires_at - job.started_at < timedelta(seconds=61)

    def test_leaves_other_types_alone(self, engine: Engine) -> None:
        queue(engine, 0, kind="other")
        assert claim(engine) == []

    def test_takes_a_job_whose_lease_ran_out(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine, lease_s=NO_LEASE_S)
        started = get(engine, job_id).started_at
        assert [(job.id, job.attempt) for job in claim(engine)] == [(job_id, 2)]
        assert get(engine, job_id).started_at == started
        assert claim(engine) == []

    @pytest.mark.parametrize("status", [each for each in JobStatus if each not in {"queued", "running"}])
    def test_leaves_settled_and_cancelled_jobs_alone(self, engine: Engine, status: JobStatus) -> None:
        queue(engine, 0)
        with writing(engine) as session:
            long_ago = datetime(2000, 1, 1, tzinfo=UTC)
            session.execute(update(Job).values(status=status, lease_expires_at=long_ago))
        assert claim(engine) == []

    def test_gives_each_job_to_one_of_several_claimers(self, engine: Engine) -> None:
        ids = queue(engine, *[0] * 60)
        together = threading.Barrier(6)

        def claim_all(_: int) -> list[JobId]:
            together.wait()
            mine: list[JobId] = []
            while claimed := claim(engine, limit=4):
                mine += [job.id for job in claimed]
            return mine

        with ThreadPoolExecutor(6) as pool:
            told = [job_id for mine in pool.map(claim_all, range(6)) for job_id in mine]
        assert sorted(told) == sorted(ids)

    def test_is_not_held_up_by_another_claim_on_postgres(self, postgres_engine: Engine) -> None:
        first, second = queue(postgres_engine, 1, 0)
        with writing(postgres_engine) as session:
            held = JobRepository(session).claim(["embed"], limit=1, lease_s=LEASE_S)
            assert [job.id for job in held] == [first]
            assert [job.id for job in claim(postgres_engine, limit=2)] == [second]

    def test_uses_the_index_of_open_jobs(self, engine: Engine) -> None:
        def work(session: Session) -> None:
            JobRepository(session).claim(["embed"], limit=1, lease_s=LEASE_S)

        found = plan(engine, work)
        assert "ix_jobs_open" in found
        assert "TEMP B-TREE" not in found
        assert "Sort" not in found


class TestSettle:
    def test_complete(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        with writing(engine) as session:
            JobRepository(session).complete(job_id, 1, {"indexed": 3})
        job = get(engine, job_id)
        assert (job.status, job.result, job.lease_expires_at) == (JobStatus.COMPLETED, {"indexed": 3}, None)
        assert job.completed_at is not None
        assert job.started_at is not None
        assert job.completed_at >= job.started_at

    def test_fail(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        with writing(engine) as session:
            JobRepository(session).fail(job_id, 1, "it broke")
        job = get(engine, job_id)
        assert (job.status, job.error, job.lease_expires_at) == (JobStatus.FAILED, "it broke", None)
        assert job.completed_at is not None

    def test_release(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        with writing(engine) as session:
            JobRepository(session).release(job_id, 1)
        job = get(engine, job_id)
        assert (job.status, job.completed_at, job.lease_expires_at) == (JobStatus.QUEUED, None, None)
        assert [each.attempt for each in claim(engine)] == [2]

    @pytest.mark.parametrize("settle", ["complete", "fail", "release"])
    def test_who_lost_the_lease_settles_nothing(self, engine: Engine, settle: str) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine, lease_s=NO_LEASE_S)
        claim(engine)
        before = get(engine, job_id)
        arguments = {"complete": ({},), "fail": ("late",), "release": ()}[settle]
        with pytest.raises(LeaseLost) as caught, writing(engine) as session:
            getattr(JobRepository(session), settle)(job_id, 1, *arguments)
        assert (caught.value.job_id, caught.value.attempt) == (job_id, 1)
        after = get(engine, job_id)
        assert (after.status, after.attempt, after.updated_at) == (before.status, 2, before.updated_at)

    def test_a_settled_job_is_not_settled_again(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        with writing(engine) as session:
            JobRepository(session).complete(job_id, 1)
        with pytest.raises(LeaseLost), writing(engine) as session:
            JobRepository(session).complete(job_id, 1)

    def test_requeue_running(self, engine: Engine) -> None:
        ids = queue(engine, 0, 0, 0)
        queue(engine, 0, kind="other")
        claim(engine, limit=2)
        with writing(engine) as session:
            JobRepository(session).claim(["other"], limit=1, lease_s=LEASE_S)
            assert JobRepository(session).requeue_running(["embed"]) == 2
            assert JobRepository(session).counts()["other", JobStatus.RUNNING] == 1
        assert sorted(job.id for job in claim(engine, limit=9)) == sorted(ids)


def test_counts(engine: Engine) -> None:
    queue(engine, 0, 0, 0)
    queue(engine, 0, kind="other")
    claim(engine, limit=2)
    with writing(engine) as session:
        assert JobRepository(session).counts() == {
            ("embed", JobStatus.QUEUED): 1,
            ("embed", JobStatus.RUNNING): 2,
            ("other", JobStatus.QUEUED): 1,
        }


def test_extraction_ids_are_read_from_the_payload() -> None:
    ids = [uuid.uuid4(), uuid.uuid4()]
    job = ClaimedJob(JobId(uuid.uuid4()), "embed", {"extraction_ids": [str(each) for each in ids]}, 1)
    assert job.extraction_ids() == ids


def test_the_clock_is_the_databases_and_stored_as_columns_are(engine: Engine) -> None:
    (job_id,) = queue(engine, 0)
    dialect = engine.dialect.name
    with writing(engine) as session:
        session.execute(update(Job).values(started_at=now(dialect), lease_expires_at=now(dialect, plus_s=1.5)))
        stored = session.scalar(text("SELECT CAST(started_at AS TEXT) FROM jobs"))
    job = get(engine, job_id)
    assert job.started_at is not None
    assert job.lease_expires_at is not None
    assert abs(datetime.now(UTC) - job.started_at) < timedelta(seconds=60)
    passed = job.lease_expires_at - job.started_at
    assert timedelta(seconds=1.4) < passed < timedelta(seconds=10)
    assert dialect == "postgresql" or stored == f"{job.started_at:%Y-%m-%d %H:%M:%S.%f}"
