"""The worker: what it claims, what becomes of an attempt, and how it stops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from support.jobs import job_of, jobs_of, queue_jobs, statuses
from support.parts import settings_for
from support.rows import writing
from support.waiting import PATIENCE_S, until

from app.database import WriteSession
from app.errors import EmbeddingUnavailable, InvalidInput, Saturated
from app.models import Job
from app.services.jobs.running import Done, Handler, RunningJob
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.lease import LeaseRepository
from app.worker.worker import Worker
from containers import Container, create_container, running

QUICK = {"poll_interval": 0.05, "retry_delay": 0.01, "max_retry_delay": 0.02, "max_attempts": 3}


@pytest.fixture
def open_with(tmp_path: Path, engine: Engine) -> Iterator[Callable[..., Container]]:
    """A function that opens a container whose workers have the given handlers and settings."""
    opened: list[Any] = []

    def open_(handlers: Mapping[str, Handler], **worker: Any) -> Container:
        settings = settings_for(tmp_path, worker={**QUICK, **worker})
        context = running(create_container(settings, engine=engine, handlers=handlers))
        opened.append(context)
        return context.__enter__()

    yield open_
    for context in opened:
        context.__exit__(None, None, None)


@asynccontextmanager
async def working(container: Container) -> AsyncIterator[Worker]:
    worker = container.worker()
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, 60)


def raising(error: BaseException) -> Handler:
    async def handler(job: RunningJob) -> None:  # noqa: ARG001 - a handler's signature
        raise error

    return handler


async def nothing(_: RunningJob) -> None:
    return


async def ended(engine: Engine, count: int = 1) -> list[Job]:
    await until(lambda: sum(job.completed_at is not None for job in jobs_of(engine)) == count)
    return jobs_of(engine)


class TestRunning:
    async def test_runs_what_is_queued_and_keeps_the_result(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        async def handler(job: RunningJob) -> Done:
            return Done({"double": job.payload["n"] * 2})

        queue_jobs(engine, "sum", n=21)
        async with working(open_with({"sum": handler})):
            [job] = await ended(engine)
        assert (job.status, job.result, job.attempt, job.failures) == ("completed", {"double": 42}, 1, 0)

    async def test_leaves_types_without_a_handler_alone(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        queue_jobs(engine, "unknown")
        queue_jobs(engine, "known")
        async with working(open_with({"known": nothing})):
            await ended(engine)
        assert statuses(engine) == {"queued": 1, "completed": 1}

    async def test_runs_the_most_urgent_first(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        order: list[int] = []

        async def handler(job: RunningJob) -> None:
            order.append(job.payload["n"])

        for priority in (0, 5, 0, 9):
            queue_jobs(engine, "note", priority=priority, n=priority)
        async with working(open_with({"note": handler}, concurrency=1)):
            await ended(engine, 4)
        assert order == [9, 5, 0, 0]

    async def test_runs_so_many_at_once_and_no_more(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        active, most = 0, 0

        async def handler(_: RunningJob) -> None:
            nonlocal active, most
            active += 1
            most = max(most, active)
            await asyncio.sleep(0.02)
            active -= 1

        queue_jobs(engine, "busy", 20)
        async with working(open_with({"busy": handler}, concurrency=4)):
            await ended(engine, 20)
        assert most == 4

    async def test_new_work_in_the_process_wakes_it(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        """By the event, because it wouldn't look for a day."""
        container = open_with({"verify": nothing}, poll_interval=86_400.0)
        async with working(container):
            await asyncio.sleep(0.2)
            await container.jobs().verify()
            await ended(engine)

    @pytest.mark.slow
    async def test_new_work_from_elsewhere_wakes_it_on_postgres(
        self, tmp_path: Path, postgres_engine: Engine
    ) -> None:
        settings = settings_for(tmp_path, worker={**QUICK, "poll_interval": 86_400.0})
        container = create_container(settings, engine=postgres_engine, handlers={"note": nothing})
        with running(container):
            async with working(container):
                await asyncio.sleep(0.5)
                queue_jobs(postgres_engine, "note")
                await ended(postgres_engine)

    @pytest.mark.slow
    async def test_a_listener_whose_connection_is_lost_listens_again(
        self, tmp_path: Path, postgres_engine: Engine
    ) -> None:
        settings = settings_for(tmp_path, worker={**QUICK, "poll_interval": 86_400.0})
        container = create_container(settings, engine=postgres_engine, handlers={"note": nothing})
        with running(container):
            async with working(container):
                await asyncio.sleep(0.3)
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                with writing(postgres_engine) as session:
                    assert len(session.execute(text(cut + " AND datname = current_database()")).all()) == 1
                queue_jobs(postgres_engine, "note")
                await ended(postgres_engine)

    async def test_a_paused_type_waits(self, engine: Engine, open_with: Callable[..., Container]) -> None:
        container = open_with({"note": nothing}, poll_interval=86_400.0)
        queue_jobs(engine, "note")
        await container.jobs().pause("note")
        async with working(container):
            await asyncio.sleep(0.2)
            assert statuses(engine) == {"queued": 1}
            await container.jobs().resume("note")
            await ended(engine)

    async def test_a_handler_is_added_to_the_others(self, tmp_path: Path) -> None:
        container = create_container(settings_for(tmp_path))
        container.handlers.add_kwargs(note=nothing)
        with running(container):
            assert {"embed", "delete_vectors", "verify", "repair", "note"} <= container.handlers().keys()
            queue_jobs(container.engine(), "note")
            async with working(container):
                await ended(container.engine())


class TestFailing:
    @pytest.mark.parametrize(
        "error", [EmbeddingUnavailable("not now"), RuntimeError("a bug"), SystemExit(3), KeyboardInterrupt()]
    )
    async def test_what_may_pass_is_tried_again_and_then_fails(
        self, engine: Engine, open_with: Callable[..., Container], error: BaseException
    ) -> None:
        queue_jobs(engine, "bad")
        async with working(open_with({"bad": raising(error)})):
            [job] = await ended(engine)
        assert (job.status, job.attempt, job.failures) == ("failed", 3, 3)
        assert job.error
        assert str(error) in job.error

    @pytest.mark.parametrize(
        "result",
        [{"n": 2**70}, {"n": {1, 2}}, {"text": "\0"}, {"text": "\ud800"}],
        ids=["huge", "set", "nul", "surrogate"],
    )
    async def test_a_result_that_cannot_be_kept_is_the_job_s_own_failure(
        self, engine: Engine, open_with: Callable[..., Container], result: dict[str, Any]
    ) -> None:
        async def handler(_: RunningJob) -> Done:
            return Done(result)

        queue_jobs(engine, "bad", priority=1)
        queue_jobs(engine, "good", 3)
        async with working(open_with({"bad": handler, "good": nothing})):
            await ended(engine, 4)
        assert statuses(engine) == {"failed": 1, "completed": 3}

    @pytest.mark.parametrize(
        "text", ["a\0b", "lone \ud800", "long " * 10_000], ids=["nul", "surrogate", "long"]
    )
    async def test_whatever_an_error_says_can_be_kept(
        self,
        engine: Engine,
        open_with: Callable[..., Container],
        caplog: pytest.LogCaptureFixture,
        text: str,
    ) -> None:
        caplog.set_level(logging.CRITICAL, "app")  # pytest-xdist can't send a log with this text
        queue_jobs(engine, "bad")
        async with working(open_with({"bad": raising(ValueError(text))})):
            [job] = await ended(engine)
        assert job.error is not None
        assert job.error.startswith("ValueError: ")

    async def test_a_server_that_asks_for_ever_gets_an_hour(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        queue_jobs(engine, "bad")
        error = EmbeddingUnavailable("busy", retry_after_s=float("inf"))
        async with working(open_with({"bad": raising(error)})):
            await until(lambda: jobs_of(engine)[0].failures == 1)
        [job] = jobs_of(engine)
        assert (job.run_at - job.updated_at).total_seconds() < 3_700

    async def test_what_cannot_pass_fails_at_once(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        queue_jobs(engine, "bad")
        async with working(open_with({"bad": raising(InvalidInput("no such thing"))})):
            [job] = await ended(engine)
        assert (job.status, job.attempt, job.error) == ("failed", 1, "no such thing")

    async def test_a_failure_stops_no_other(self, engine: Engine, open_with: Callable[..., Container]) -> None:
        queue_jobs(engine, "bad", 5, priority=1)
        queue_jobs(engine, "good", 20)
        handlers = {"bad": raising(SystemExit(1)), "good": nothing}
        async with working(open_with(handlers, concurrency=2)):
            await ended(engine, 25)
        assert statuses(engine) == {"failed": 5, "completed": 20}

    async def test_a_server_that_asks_for_time_gets_it(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        queue_jobs(engine, "bad")
        async with working(open_with({"bad": raising(EmbeddingUnavailable("busy", retry_after_s=500.0))})):
            await until(lambda: jobs_of(engine)[0].failures == 1)
        [job] = jobs_of(engine)
        assert job.status == "queued"
        assert (job.run_at - job.updated_at).total_seconds() > 499

    async def test_a_full_lane_is_no_failure_of_the_job_s(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        tries = 0

        async def handler(_: RunningJob) -> None:
            nonlocal tries
            tries += 1
            if tries <= QUICK["max_attempts"]:
                raise Saturated("embedding", 9, retry_after_s=0.01)

        queue_jobs(engine, "note")
        async with working(open_with({"note": handler})):
            [job] = await ended(engine)
        assert (job.status, job.failures, job.attempt) == ("completed", 0, tries)

    async def test_one_that_takes_too_long_is_stopped(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        async def hang(_: RunningJob) -> None:
            await asyncio.Event().wait()

        queue_jobs(engine, "slow")
        queue_jobs(engine, "quick")
        handlers = {"slow": hang, "quick": nothing}
        async with working(open_with(handlers, time_limits={"slow": 0.05}, max_attempts=2)):
            slow, quick = await ended(engine, 2)
        assert (slow.status, slow.failures, quick.status) == ("failed", 2, "completed")
        assert slow.error
        assert "longer than 0.05 s" in slow.error

    @pytest.mark.slow
    async def test_one_that_won_t_be_stopped_is_left_behind(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        release = asyncio.Event()

        async def stubborn(_: RunningJob) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        queue_jobs(engine, "stubborn")
        async with working(open_with({"stubborn": stubborn}, time_limit=0.05, max_attempts=1)):
            [job] = await ended(engine)
        assert job.status == "failed"
        release.set()
        await asyncio.sleep(0)

    async def test_an_effect_that_fails_is_undone_and_tried_again(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        tries = 0

        def effect(session: WriteSession) -> None:
            nonlocal tries
            tries += 1
            JobRepository(session).create("traced", {"n": tries})
            if tries == 1:
                raise RuntimeError("half-way")

        async def handler(_: RunningJob) -> Done:
            return Done(effect=effect)

        queue_jobs(engine, "note")
        async with working(open_with({"note": handler})):
            await ended(engine)
        assert [job.payload for job in jobs_of(engine) if job.type == "traced"] == [{"n": 2}]


@pytest.mark.slow
class TestLeases:
    async def test_a_long_job_keeps_its_lease(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        release = asyncio.Event()

        async def wait(_: RunningJob) -> None:
            await release.wait()

        queue_jobs(engine, "long")
        async with working(open_with({"long": wait}, lease_timeout=0.3)):
            await asyncio.sleep(1.0)
            release.set()
            [job] = await ended(engine)
        assert (job.status, job.attempt) == ("completed", 1)

    async def test_an_attempt_that_lost_its_lease_is_cancelled_at_once(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        """It would work on beside its successor, though it asks for nothing that could tell it."""
        asleep, woken = asyncio.Event(), asyncio.Event()

        async def sleeper(_: RunningJob) -> None:
            asleep.set()
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                woken.set()
                raise

        [job_id] = queue_jobs(engine, "sleep")
        async with working(open_with({"sleep": sleeper}, lease_timeout=0.3)):
            await asleep.wait()
            with writing(engine) as session:
                leases = LeaseRepository(session)
                leases.expire_all()
                [successor] = leases.claim(["sleep"], limit=1, lease_s=3_600)
            async with asyncio.timeout(PATIENCE_S):
                await woken.wait()
        row = job_of(engine, job_id)
        assert (row.status, row.attempt, row.error) == ("running", successor.attempt, None)

    async def test_who_lost_the_lease_neither_saves_nor_settles(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        saved: list[str] = []
        first, go_on = asyncio.Event(), asyncio.Event()

        async def handler(job: RunningJob) -> Done:
            if job.attempt == 1:
                first.set()
                await go_on.wait()
            job.note_progress(done=1)
            await job.save(lambda _: saved.append(f"attempt {job.attempt}"))
            return Done({"attempt": job.attempt})

        [job_id] = queue_jobs(engine, "note")
        container = open_with({"note": handler})
        async with working(container):
            await first.wait()
            with writing(engine) as session:
                LeaseRepository(session).expire_all()
            await ended(engine)
            go_on.set()
            await asyncio.sleep(0.2)
        assert saved == ["attempt 2"]
        job = job_of(engine, job_id)
        assert (job.status, job.result, job.attempt) == ("completed", {"attempt": 2}, 2)

    async def test_progress_is_seen_while_it_runs(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        go_on = asyncio.Event()

        async def handler(job: RunningJob) -> None:
            await job.report(done=3, total=7)
            await go_on.wait()

        [job_id] = queue_jobs(engine, "note")
        container = open_with({"note": handler})
        async with working(container):
            await until(lambda: job_of(engine, job_id).done == 3)
            assert (await container.jobs().get(job_id)).total == 7
            go_on.set()
            await ended(engine)


class TestCancelling:
    async def test_is_seen_at_the_next_batch(self, engine: Engine, open_with: Callable[..., Container]) -> None:
        batches = 0

        async def handler(job: RunningJob) -> None:
            nonlocal batches
            while True:
                batches += 1
                await job.report(done=batches)
                await asyncio.sleep(0.01)

        [job_id] = queue_jobs(engine, "endless")
        container = open_with({"endless": handler})
        async with working(container):
            await until(lambda: batches > 2)
            assert (await container.jobs().cancel(job_id)).status == "cancelling"
            [job] = await ended(engine)
        assert (job.status, job.done) == ("cancelled", batches)

    async def test_a_cancelled_job_can_be_retried(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        [job_id] = queue_jobs(engine, "note")
        container = open_with({"note": nothing})
        await container.jobs().cancel(job_id)
        await container.jobs().retry(job_id)
        async with working(container):
            [job] = await ended(engine)
        assert job.status == "completed"


class TestStopping:
    async def test_lets_what_runs_end(self, engine: Engine, open_with: Callable[..., Container]) -> None:
        started = asyncio.Event()

        async def handler(_: RunningJob) -> None:
            started.set()
            await asyncio.sleep(0.1)

        queue_jobs(engine, "note", 20)
        async with working(open_with({"note": handler}, concurrency=2)):
            await started.wait()
        assert statuses(engine) == {"completed": 2, "queued": 18}

    async def test_hands_back_what_does_not_end_in_time(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        started = asyncio.Event()

        async def hang(_: RunningJob) -> None:
            started.set()
            await asyncio.Event().wait()

        queue_jobs(engine, "note", 5)
        async with working(open_with({"note": hang}, concurrency=5, shutdown_timeout=0.1)):
            await started.wait()
        assert statuses(engine) == {"queued": 5}
        assert {job.failures for job in jobs_of(engine)} == {0}


class TestUpkeep:
    async def test_old_finished_jobs_are_pruned(
        self, engine: Engine, open_with: Callable[..., Container]
    ) -> None:
        queue_jobs(engine, "note", 3)
        async with working(open_with({"note": nothing})):
            await ended(engine, 3)
        async with working(open_with({"note": nothing}, keep_finished=0.0)):
            await until(lambda: not jobs_of(engine))


async def test_run_one_leaves_the_rest_of_the_queue(
    engine: Engine, open_with: Callable[..., Container]
) -> None:
    queue_jobs(engine, "note", 2)
    worker = open_with({"note": nothing}).worker()
    assert await worker.run_one(["note"]) is not None
    assert statuses(engine) == {"completed": 1, "queued": 1}
