"""Whatever is done to the stores in whatever order, they end equal, and no row is ever lost."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select
from support.examples import examples
from support.faulty_client import Died, FaultyClient, When
from support.jobs import jobs_of
from support.parts import index_all, make_item, open_container
from support.rows import empty, writing

from app.errors import JobCancelled, JobStateConflict, LeaseLost, QdrantError
from app.models import Extraction, ExtractionId, JobStatus
from app.services.items import extraction_id
from app.services.jobs.running import RunningJob
from app.services.reconciliation import Differences
from app.services.storage.qdrant.clients import VectorClient, open_client
from app.services.storage.repositories.lease import LeaseRepository
from app.services.storage.repositories.project import project_id
from app.worker.attempts import Ended
from containers import Container

PROJECTS = st.sampled_from(["papers", "notes"])
NUMBERS = st.lists(st.integers(0, 2), min_size=1, max_size=3)
ALL = [0, 1, 2]
WAYS = (
    "",
    "delete run",
    "delete return run",
    "delete run return",
    "lapse run delete run",
    "lapse delete run return run",
)
MEANWHILE = st.sampled_from(WAYS)
WHENS = st.builds(When, st.integers(1, 3), st.booleans())


class TwoStores(RuleBasedStateMachine):
    """Two processes over the same stores: one goes on, the other can be stopped in the midst of a job.

    ``self.rows`` says which extractions there must be, ``self.needs_repair`` whether something has happened that
    the jobs alone don't mend.
    """

    def __init__(self, engine: Engine, client: VectorClient, folder: Path) -> None:
        super().__init__()
        self.engine = engine
        self.client = client
        self.folder = folder
        self.rows: set[tuple[str, int]] = set()
        self.projects: set[str] = set()
        self.needs_repair = False
        self.is_harmed = False
        self.stalled: asyncio.Task[Ended | None] | None = None
        self.runner = asyncio.Runner()
        self.processes = ExitStack()
        self.faulty, self.container = self.start()
        self.faulty_other, self.other = self.start()
        self.run(self.container.indexing().open())

    def start(self) -> tuple[FaultyClient, Container]:
        faulty = FaultyClient(self.client)
        opening = open_container(self.folder, batch_size=2, engine=self.engine, qdrant_client=faulty)
        return faulty, self.processes.enter_context(opening)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def ids(self) -> set[ExtractionId]:
        return {extraction_id(project_id(project), make_item(number)) for project, number in self.rows}

    @initialize(harm=st.booleans())
    def choose(self, harm: bool) -> None:
        """In every other run nothing happens that needs a repair, nor is there one: the jobs alone have to do."""
        self.is_harmed = harm

    # --- what users do ---

    @rule(project=PROJECTS, numbers=NUMBERS)
    def ingest(self, project: str, numbers: list[int]) -> None:
        self.run(self.container.ingestion().accept(project, [make_item(number) for number in numbers]))
        self.rows |= {(project, number) for number in numbers}
        self.projects.add(project)

    @rule(project=PROJECTS, numbers=NUMBERS)
    def delete(self, project: str, numbers: list[int]) -> None:
        if project in self.projects:
            ids = [extraction_id(project_id(project), make_item(number)) for number in numbers]
            self.run(self.container.extractions().delete_batch(project, ids))
            self.rows -= {(project, number) for number in numbers}

    @rule(project=PROJECTS)
    def delete_project(self, project: str) -> None:
        if project in self.projects:
            self.run(self.container.projects().delete(project))
            self.rows = {row for row in self.rows if row[0] != project}
            self.projects.remove(project)

    @precondition(lambda self: self.is_harmed)
    @rule()
    def queue_a_repair(self) -> None:
        self.run(self.container.jobs().verify(repair=True))

    @precondition(lambda self: self.is_harmed)
    @rule()
    def cancel_the_newest_job(self) -> None:
        if jobs := jobs_of(self.engine):
            with suppress(JobStateConflict):
                self.run(self.container.jobs().cancel(jobs[-1].id))
                self.needs_repair = True

    @precondition(lambda self: self.is_harmed)
    @rule()
    def retry_what_failed(self) -> None:
        for job in jobs_of(self.engine):
            if job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
                with suppress(JobStateConflict):
                    self.run(self.container.jobs().retry(job.id))

    # --- what workers do ---

    @rule()
    def run_jobs(self) -> None:
        self.run(index_all(self.container))

    @precondition(lambda self: self.is_harmed)
    @rule(when=WHENS)
    def fail_in_a_job(self, when: When) -> None:
        self.faulty.refuse(when)
        try:
            self.run(self.container.worker().run_one())
        except QdrantError:
            self.needs_repair = True
        self.faulty.go_on()

    @rule(when=WHENS)
    def die_in_a_job(self, when: When) -> None:
        """Without an end that anybody notes, even if the handler has come to its own."""
        with writing(self.engine) as session:
            claimed = LeaseRepository(session).claim(list(self.container.handlers()), limit=1, lease_s=60.0)
        if claimed:
            job = RunningJob(claimed[0], self.container.database(), 60.0)
            self.faulty.die(when)
            with suppress(Died):
                self.run(self.container.handlers()[job.type](job))
            self.faulty.go_on()

    @rule()
    def let_leases_lapse(self) -> None:
        with writing(self.engine) as session:
            LeaseRepository(session).expire_all()

    @precondition(lambda self: self.stalled is None)
    @rule(when=WHENS, project=PROJECTS, meanwhile=MEANWHILE)
    def stall_in_a_job(self, when: When, project: str, meanwhile: str) -> None:
        """And go on in the other process in one of the ways that are known to matter, which chance seldom finds."""
        self.ingest(project, ALL)  # so that there is a job to be in
        self.faulty_other.hold(when)
        self.stalled = self.run(self.stall())
        changes: dict[str, Callable[[], None]] = {
            "delete": lambda: self.delete(project, ALL),
            "return": lambda: self.ingest(project, ALL),
            "lapse": self.let_leases_lapse,
            "run": self.run_jobs,
        }
        for change in meanwhile.split():
            changes[change]()

    async def stall(self) -> asyncio.Task[Ended | None] | None:
        attempt = asyncio.create_task(self.other.worker().run_one())
        while not (attempt.done() or self.faulty_other.is_held):  # noqa: ASYNC110 - it is held on a thread
            await asyncio.sleep(0.0005)
        return attempt

    @precondition(lambda self: self.stalled is not None)
    @rule()
    def wake_up(self) -> None:
        self.faulty_other.go_on()
        with suppress(LeaseLost, JobCancelled):
            self.run(_outcome(self.stalled))
        self.stalled = None

    # --- what goes wrong, and what is mended ---

    @precondition(lambda self: self.is_harmed)
    @rule(number=st.integers(0, 9))
    def lose_a_vector(self, number: int) -> None:
        if ids := sorted(map(str, self.ids())):
            self.client.delete([ids[number % len(ids)]])
            self.needs_repair = True

    @precondition(lambda self: self.is_harmed)
    @rule()
    def repair(self) -> None:
        self.run(_last(self.container, repair=True))

    @precondition(lambda self: self.is_harmed)
    @rule(when=WHENS)
    def die_in_a_repair(self, when: When) -> None:
        self.faulty.die(when)
        try:
            self.repair()
        except Died:
            self.needs_repair = True
        self.faulty.go_on()

    # --- what holds ---

    @invariant()
    def no_row_is_lost(self) -> None:
        with self.engine.connect() as connection:
            assert set(connection.scalars(select(Extraction.id))) == self.ids()

    def teardown(self) -> None:
        try:
            if self.stalled is not None:
                self.wake_up()
            self.stores_end_equal()
        finally:
            self.faulty_other.go_on()
            self.processes.close()
            self.runner.close()
            empty(self.engine)
            if points := self.points():
                self.client.delete(points)

    def stores_end_equal(self) -> None:
        self.let_leases_lapse()
        self.run(index_all(self.container))
        if self.needs_repair:
            self.repair()
            self.run(index_all(self.container))
        ids = self.ids()
        with self.engine.connect() as connection:
            marks = connection.execute(select(Extraction.id, Extraction.embedding_id)).all()
        assert {mark.id: mark.embedding_id for mark in marks} == {id_: str(id_) for id_ in ids}
        assert sorted(self.points()) == sorted(map(str, ids))
        assert self.run(_last(self.container)) == Differences(extractions=len(ids), points=len(ids))

    def points(self) -> list[str]:
        return self.client.scroll(None, 1_000, None)[0]


async def _outcome(attempt: asyncio.Task[Ended | None] | None) -> None:
    if attempt is not None:
        await attempt


async def _last(container: Container, *, repair: bool = False) -> Differences:
    return [Differences(), *[state async for state in container.reconciliation().run(repair=repair)]][-1]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["memory", "embedded"])
def test_the_stores_end_equal(engine: Engine, tmp_path: Path, mode: Any) -> None:
    client = open_client(mode, path=tmp_path / "qdrant")
    try:
        run_state_machine_as_test(
            partial(TwoStores, engine, client, tmp_path),  # type: ignore[arg-type]  # any factory will do
            settings=settings(max_examples=examples(25), stateful_step_count=20, deadline=None),
        )
    finally:
        client.close()


@pytest.mark.parametrize("meanwhile", WAYS)
def test_a_stalled_job_and_what_goes_on_meanwhile(engine: Engine, tmp_path: Path, meanwhile: str) -> None:
    with closing(open_client("memory", path=tmp_path)) as client:
        for when in (When(1, done=False), When(1, done=True), When(2, done=False)):
            stores = TwoStores(engine, client, tmp_path)
            stores.stall_in_a_job(when, "papers", meanwhile)
            stores.teardown()
