"""Jobs: claimed once, under a lease with a fence, on the database's clock."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text, update
from support.backends import CONNECTIONS
from support.jobs import queue_jobs
from support.plans import plan
from support.rows import make_project, writing

from app.database import WriteSession
from app.domain.ids import JobId
from app.domain.jobs import JobFilters, JobStatus, JobType
from app.errors import InvalidField, JobStateConflict, LeaseLost, NotFound
from app.models import Job
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.job_totals import JobTotalRepository
from app.services.storage.repositories.lease import MOST_LAPSES, ClaimedJob, LeaseRepository, Settlement

pytestmark = pytest.mark.contract

LEASE_S = 60.0
NO_LEASE_S = -1.0


def queue(engine: Engine, *priorities: int, job_type: str = "embed") -> list[JobId]:
    with writing(engine) as session:
        return [JobRepository(session).create(job_type, {"n": priority}, priority) for priority in priorities]


def claim(engine: Engine, *, limit: int = 1, lease_s: float = LEASE_S) -> list[ClaimedJob]:
    with writing(engine) as session:
        return LeaseRepository(session).claim(["embed"], limit=limit, lease_s=lease_s)


def settle(engine: Engine, job_id: JobId, status: JobStatus, attempt: int = 1, **rest: Any) -> bool:
    with writing(engine) as session:
        settled = LeaseRepository(session).settle([Settlement(job_id, attempt, status, **rest)])
    return settled == {job_id}


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
        assert claim(engine) == [ClaimedJob(job_id, "embed", {"n": 7}, 1, 0)]
        job = get(engine, job_id)
        assert job.status == JobStatus.RUNNING
        assert job.started_at is not None
        assert job.lease_expires_at is not None
        assert timedelta(seconds=59) < job.lease_expires_at - job.started_at < timedelta(seconds=61)

    def test_leaves_other_types_alone(self, engine: Engine) -> None:
        queue(engine, 0, job_type="other")
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

    @pytest.mark.needs(CONNECTIONS)
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
            held = LeaseRepository(session).claim(["embed"], limit=1, lease_s=LEASE_S)
            assert [job.id for job in held] == [first]
            assert [job.id for job in claim(postgres_engine, limit=2)] == [second]

    def test_uses_the_index_of_open_jobs(self, engine: Engine) -> None:
        queue_jobs(engine, "embed", 50)
        queue_jobs(engine, "other", 500)

        def work(session: WriteSession) -> None:
            LeaseRepository(session).claim(["embed"], limit=1, lease_s=LEASE_S)

        found = plan(engine, work)
        assert "ix_jobs_open" in found
        assert "TEMP B-TREE" not in found
        assert "Sort" not in found


class TestDue:
    def test_a_job_waits_for_its_time(self, engine: Engine) -> None:
        with writing(engine) as session:
            JobRepository(session).create("embed", {}, delay_s=60.0)
            due = JobRepository(session).create("embed", {}, delay_s=-1.0)
        assert [job.id for job in claim(engine, limit=9)] == [due]

    def test_a_paused_type_is_left_alone(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        with writing(engine) as session:
            JobRepository(session).pause("embed")
            JobRepository(session).pause("embed")
            assert JobRepository(session).paused() == ["embed"]
        assert claim(engine) == []
        with writing(engine) as session:
            JobRepository(session).resume("embed")
        assert [job.id for job in claim(engine)] == [job_id]

    def test_of_a_unique_job_there_is_one_open(self, engine: Engine) -> None:
        with writing(engine) as session:
            first = JobRepository(session).create("embed", {}, unique_key="embed:papers")
            assert JobRepository(session).create("embed", {}, unique_key="embed:papers") == first
            assert JobRepository(session).create("embed", {}, unique_key="embed:notes") != first
        [_, _] = claim(engine, limit=9)
        assert settle(engine, first, JobStatus.COMPLETED)
        with writing(engine) as session:
            assert JobRepository(session).create("embed", {}, unique_key="embed:papers") != first

    @pytest.mark.needs(CONNECTIONS)
    def test_of_a_unique_job_queued_at_once_there_is_one(self, engine: Engine) -> None:
        together = threading.Barrier(4)

        def create(_: int) -> JobId:
            together.wait()
            with writing(engine) as session:
                return JobRepository(session).create("embed", {}, unique_key="one")

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(create, range(4)))) == 1


class TestSettle:
    def test_complete(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        assert settle(engine, job_id, JobStatus.COMPLETED, result={"indexed": 3})
        job = get(engine, job_id)
        assert (job.status, job.result, job.lease_expires_at) == (JobStatus.COMPLETED, {"indexed": 3}, None)
        assert job.completed_at is not None
        assert job.started_at is not None
        assert job.completed_at >= job.started_at

    def test_fail(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        assert settle(engine, job_id, JobStatus.FAILED, error="it broke", failures=1)
        job = get(engine, job_id)
        assert (job.status, job.error, job.lease_expires_at) == (JobStatus.FAILED, "it broke", None)
        assert (job.failures, job.result) == (1, None)
        assert job.completed_at is not None

    def test_try_again(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        assert settle(engine, job_id, JobStatus.QUEUED)
        job = get(engine, job_id)
        assert (job.status, job.completed_at, job.lease_expires_at) == (JobStatus.QUEUED, None, None)
        assert [(each.attempt, each.failures) for each in claim(engine)] == [(2, 0)]

    def test_try_again_later(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        assert settle(engine, job_id, JobStatus.QUEUED, error="not now", failures=1, delay_s=60.5)
        job = get(engine, job_id)
        assert (job.status, job.error, job.failures) == (JobStatus.QUEUED, "not now", 1)
        assert timedelta(seconds=59) < job.run_at - datetime.now(UTC) < timedelta(seconds=62)
        assert claim(engine) == []

    def test_many_at_once_each_in_its_own_way(self, engine: Engine) -> None:
        first, second, third = queue(engine, 3, 2, 1)
        claim(engine, limit=9)
        with writing(engine) as session:
            settled = LeaseRepository(session).settle(
                [
                    Settlement(first, 1, JobStatus.COMPLETED, result={"n": 1.5}),
                    Settlement(second, 7, JobStatus.COMPLETED),
                    Settlement(third, 1, JobStatus.FAILED, error='it\'s "broken"'),
                ]
            )
        assert settled == {first, third}
        found = [get(engine, each) for each in (first, second, third)]
        assert [(job.status, job.result, job.error) for job in found] == [
            ("completed", {"n": 1.5}, None),
            ("running", None, None),
            ("failed", None, 'it\'s "broken"'),
        ]

    @pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.QUEUED])
    def test_who_lost_the_lease_settles_nothing(self, engine: Engine, status: JobStatus) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine, lease_s=NO_LEASE_S)
        claim(engine)
        before = get(engine, job_id)
        assert not settle(engine, job_id, status, error="late")
        with pytest.raises(LeaseLost) as caught, writing(engine) as session:
            LeaseRepository(session).hold(job_id, 1, lease_s=LEASE_S, done=1, total=2)
        assert (caught.value.job_id, caught.value.attempt) == (job_id, 1)
        after = get(engine, job_id)
        assert (after.status, after.attempt, after.updated_at, after.done) == (
            before.status,
            2,
            before.updated_at,
            0,
        )

    def test_an_effect_happens_only_under_the_lease(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine, lease_s=NO_LEASE_S)
        claim(engine)

        def effect(session: WriteSession) -> None:
            JobRepository(session).create("effect", {})

        with pytest.raises(LeaseLost), writing(engine) as session:
            LeaseRepository(session).complete(Settlement(job_id, 1, JobStatus.COMPLETED), effect)
        with writing(engine) as session:
            LeaseRepository(session).complete(Settlement(job_id, 2, JobStatus.COMPLETED), effect)
            assert JobRepository(session).counts()["effect", JobStatus.QUEUED] == 1

    def test_a_settled_job_is_not_settled_again(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        assert settle(engine, job_id, JobStatus.COMPLETED)
        assert not settle(engine, job_id, JobStatus.FAILED)

    def test_what_has_ended_is_counted_with_its_duration(self, engine: Engine) -> None:
        ids = queue(engine, 0, 0, 0)
        claim(engine, limit=9)
        for job_id, status in zip(
            ids, (JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED), strict=True
        ):
            settle(engine, job_id, status)
        took = [get(engine, job_id) for job_id in ids[:2]]
        durations = [(job.completed_at - job.started_at) for job in took if job.completed_at and job.started_at]
        with writing(engine) as session:
            completed, failed = JobTotalRepository(session).all()
        assert (completed.status, completed.jobs, completed.timed) == ("completed", 2, 2)
        assert completed.microseconds == sum(durations, timedelta()) // timedelta(microseconds=1)
        assert completed.least == min(durations) // timedelta(microseconds=1)
        assert completed.greatest == max(durations) // timedelta(microseconds=1)
        assert (failed.status, failed.jobs, failed.timed, failed.least) == ("failed", 1, 0, None)


class TestLeases:
    def test_are_renewed_together(self, engine: Engine) -> None:
        ids = queue(engine, 0, 0, 0)
        claim(engine, limit=2, lease_s=1.0)
        with writing(engine) as session:
            LeaseRepository(session).claim(["embed"], limit=1, lease_s=1.0)
            JobRepository(session).cancel(ids[1])
        with writing(engine) as session:
            renewed = LeaseRepository(session).renew([(ids[0], 1), (ids[1], 1), (ids[2], 9)], LEASE_S)
        assert renewed == {ids[0]: JobStatus.RUNNING, ids[1]: JobStatus.CANCELLING}
        left = get(engine, ids[0]).lease_expires_at
        assert left is not None
        assert left - datetime.now(UTC) > timedelta(seconds=50)

    def test_hold_notes_progress(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        with writing(engine) as session:
            held = LeaseRepository(session).hold(job_id, 1, lease_s=LEASE_S, done=3, total=10)
        assert held == JobStatus.RUNNING
        assert (get(engine, job_id).done, get(engine, job_id).total) == (3, 10)

    def test_expire_all(self, engine: Engine) -> None:
        ids = queue(engine, 0, 0, 0)
        claim(engine, limit=2)
        with writing(engine) as session:
            assert LeaseRepository(session).expire_all() == 2
        assert sorted(job.id for job in claim(engine, limit=9)) == sorted(ids)

    def test_a_job_whose_workers_keep_dying_fails_in_the_end(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        for _ in range(MOST_LAPSES + 1):
            assert claim(engine, lease_s=NO_LEASE_S)
        assert claim(engine) == []
        with writing(engine) as session:
            assert LeaseRepository(session).sweep() == 1
        job = get(engine, job_id)
        assert job.status == JobStatus.FAILED
        assert job.error is not None
        assert "went silent" in job.error

    def test_a_cancelled_job_whose_worker_died_is_ended(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine, lease_s=NO_LEASE_S)
        with writing(engine) as session:
            assert JobRepository(session).cancel(job_id) == JobStatus.CANCELLING
        assert claim(engine) == []
        with writing(engine) as session:
            assert LeaseRepository(session).sweep() == 1
        assert get(engine, job_id).status == JobStatus.CANCELLED


class TestSteppingIn:
    def test_cancel_a_waiting_job(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        with writing(engine) as session:
            assert JobRepository(session).cancel(job_id) == JobStatus.CANCELLED
        assert claim(engine) == []
        with pytest.raises(JobStateConflict, match="cancelled"), writing(engine) as session:
            JobRepository(session).cancel(job_id)

    def test_cancel_a_running_job(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        with writing(engine) as session:
            assert JobRepository(session).cancel(job_id) == JobStatus.CANCELLING
            assert JobRepository(session).cancel(job_id) == JobStatus.CANCELLING
            held = LeaseRepository(session).hold(job_id, 1, lease_s=LEASE_S, done=1, total=None)
        assert held == JobStatus.CANCELLING
        assert settle(engine, job_id, JobStatus.QUEUED, failures=1, error="failed while it was cancelled")
        assert get(engine, job_id).status == JobStatus.CANCELLED

    def test_retry_a_failed_job(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        settle(engine, job_id, JobStatus.FAILED, error="it broke", failures=1)
        with writing(engine) as session:
            JobRepository(session).retry(job_id)
        assert [(job.id, job.attempt, job.failures) for job in claim(engine)] == [(job_id, 2, 0)]

    def test_retry_lets_a_waiting_job_go(self, engine: Engine) -> None:
        with writing(engine) as session:
            job_id = JobRepository(session).create("embed", {}, delay_s=60.0)
            JobRepository(session).retry(job_id)
        assert [job.id for job in claim(engine)] == [job_id]

    def test_what_runs_or_has_completed_is_not_retried(self, engine: Engine) -> None:
        (job_id,) = queue(engine, 0)
        claim(engine)
        with pytest.raises(JobStateConflict, match="running"), writing(engine) as session:
            JobRepository(session).retry(job_id)
        settle(engine, job_id, JobStatus.COMPLETED)
        with pytest.raises(JobStateConflict, match="completed"), writing(engine) as session:
            JobRepository(session).retry(job_id)
        with pytest.raises(NotFound), writing(engine) as session:
            JobRepository(session).retry(JobId(uuid.uuid4()))

    def test_a_unique_job_is_not_retried_beside_another(self, engine: Engine) -> None:
        with writing(engine) as session:
            first = JobRepository(session).create("embed", {}, unique_key="one")
            JobRepository(session).cancel(first)
            JobRepository(session).create("embed", {}, unique_key="one")
        with pytest.raises(JobStateConflict, match="superseded"), writing(engine) as session:
            JobRepository(session).retry(first)

    def test_prune(self, engine: Engine) -> None:
        old, young, open_job = queue(engine, 3, 2, 1)
        claim(engine, limit=2)
        for job_id in (old, young):
            settle(engine, job_id, JobStatus.COMPLETED)
        with writing(engine) as session:
            long_ago = datetime.now(UTC) - timedelta(hours=1)
            session.execute(update(Job).where(Job.id == old).values(completed_at=long_ago))
        with writing(engine) as session:
            assert JobRepository(session).prune(older_than_s=60.0, limit=10) == 1
            rows = JobRepository(session).list(JobFilters(), limit=10)
        assert {row.id for row in rows} == {young, open_job}


class TestList:
    def test_the_newest_first_page_by_page(self, engine: Engine) -> None:
        ids = [queue(engine, 0)[0] for _ in range(5)]
        with writing(engine) as session:
            jobs = JobRepository(session)
            first = jobs.list(JobFilters(), limit=3)
            last = jobs.list(JobFilters(), after=(first[-1].created_at, first[-1].id), limit=3)
        listed = [row.id for row in [*first, *last]]
        assert sorted(listed) == sorted(ids)
        assert len(first) == 3
        times = [row.created_at for row in [*first, *last]]
        assert times == sorted(times, reverse=True)

    def test_filters(self, engine: Engine) -> None:
        (mine,) = queue(engine, 0)
        queue(engine, 0, job_type="other")
        with writing(engine) as session:
            jobs = JobRepository(session)
            assert [row.id for row in jobs.list(JobFilters(types=["embed"]), limit=9)] == [mine]
            assert len(jobs.list(JobFilters(statuses=[JobStatus.QUEUED]), limit=9)) == 2
            assert jobs.list(JobFilters(statuses=[JobStatus.FAILED]), limit=9) == []
            its = jobs.create("embed", {}, project_id=make_project(session, "a"))
            jobs.create("embed", {}, project_id=make_project(session, "b"))
            assert [row.id for row in jobs.list(JobFilters(project="a"), limit=9)] == [its]
            assert jobs.list(JobFilters(project="none"), limit=9) == []
            with pytest.raises(InvalidField, match="isn't a project name"):
                jobs.list(JobFilters(project="no name"), limit=9)


def test_counts(engine: Engine) -> None:
    queue(engine, 0, 0, 0)
    queue(engine, 0, job_type="other")
    claim(engine, limit=2)
    with writing(engine) as session:
        assert JobRepository(session).counts() == {
            ("embed", JobStatus.QUEUED): 1,
            ("embed", JobStatus.RUNNING): 2,
            ("other", JobStatus.QUEUED): 1,
        }


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
