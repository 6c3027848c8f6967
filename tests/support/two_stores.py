"""Two processes on the same stores, the events that can occur, and the invariants after them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, select

from app.domain.ids import JobId, project_id_of
from app.domain.items import extraction_id_of
from app.domain.jobs import JobStatus
from app.domain.upkeep import Differences
from app.errors import JobCancelled, JobStateConflict, LeaseLost, QdrantError
from app.models import Extraction
from app.services.jobs.running import RunningJob
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import VectorClient
from app.services.storage.repositories.lease import LeaseRepository
from app.settings.sections import QdrantSettings
from containers import Container
from support.faulty_client import Died, FaultyClient, When, die, refuse
from support.jobs import jobs_of
from support.parts import index_all, make_item, open_container
from support.rows import empty, writing

ALL = (0, 1, 2)
CALM = ("run", "delete", "return", "lapse", "overtake", "die")
"""Events after which the jobs have to make the stores equal again, without a repair."""

HARM = ("cancel", "retry", "fail", "repair", "queue a repair", "die in a repair", "lose", "delete project")
ENDS: dict[str, Callable[[], None] | None] = {"wake up": None, "die": die, "fail": refuse}
"""What a stalled process does next."""


class Event(NamedTuple):
    """An event in the first process: on some of a project's rows, or at a request to Qdrant."""

    name: str
    numbers: Sequence[int] = ALL
    when: When = When(1, done=False)


class Stall(NamedTuple):
    """The other process stalls in a job at a request to Qdrant.

    After ``meanwhile``, it continues with ``end``. ``settled`` says whether the stores have to be
    equal then, or only after the next stalls.
    """

    project: str
    when: When
    end: str
    meanwhile: Sequence[Event]
    settled: bool = True


class Processes(NamedTuple):
    """Two processes on the same stores; ``other`` is the one that stalls."""

    engine: Engine
    client: VectorClient
    container: Container
    faulty: FaultyClient
    other: Container
    faulty_other: FaultyClient
    runner: asyncio.Runner


@contextmanager
def two_processes(engine: Engine, qdrant: QdrantSettings, folder: Path) -> Iterator[Processes]:
    """Run both in this process, each with its own container."""
    with ExitStack() as stack:
        client = open_vector_client(qdrant)
        stack.callback(client.close)
        first, second = FaultyClient(client), FaultyClient(client)
        containers = [
            stack.enter_context(open_container(folder, batch_size=2, engine=engine, qdrant_client=faulty))
            for faulty in (first, second)
        ]
        runner = stack.enter_context(asyncio.Runner())
        yield Processes(engine, client, containers[0], first, containers[1], second, runner)


class TwoStores:
    """Performs events on the stores, and keeps their expected contents.

    The stores are empty at the beginning and at the end. ``deleted`` are the ids whose vectors may
    have been deleted since the stores were equal; ``doubtful`` are those that only a repair fixes.
    """

    def __init__(self, processes: Processes) -> None:
        self.engine, self.client, self.container, self.faulty, self.other, self.faulty_other, runner = processes
        self.run: Callable[[Coroutine[Any, Any, Any]], Any] = runner.run
        self.rows: set[tuple[str, int]] = set()
        self.projects: set[str] = set()
        self.deleted: set[str] = set()
        self.doubtful: set[str] = set()

    def go_through(self, stalls: Sequence[Stall]) -> None:
        """Perform all stalls, and check that the stores are equal at the end."""
        self.run(self.container.indexing().prepare())
        try:
            for stall in stalls:
                self.stall(stall)
            self.settle()
            ids = self.ids()
            assert self.run(_last(self.container)) == Differences(extractions=len(ids), points=len(ids))
        finally:
            self.faulty_other.go_on()
            empty(self.engine)
            if points := self.points():
                self.client.delete(sorted(points))

    # --- what happens ---

    def stall(self, stall: Stall) -> None:
        self.queue_something(stall.project)
        before = self.attempts()
        self.faulty_other.hold(stall.when, ENDS[stall.end])
        work = _unsettled(self.engine, self.other) if stall.end == "die" else self.other.worker().run_one()
        attempt = self.run(self.held(work))
        stalled = self.attempts() - before
        self.check_on_the_way()
        for event in stall.meanwhile:
            self.happen(event, stall.project)
            self.check_on_the_way()
        is_lost = not stalled <= self.attempts()
        self.faulty_other.go_on()
        with suppress(LeaseLost, JobCancelled):
            try:
                self.run(_outcome(attempt))
            except (Died, QdrantError):
                if is_lost:  # its last request came after all others, and no job follows it
                    self.doubtful |= self.ids() | self.deleted
        self.check_on_the_way()
        if stall.settled:
            self.settle()

    def queue_something(self, project: str) -> None:
        """Delete or ingest, so that there is a job of either kind."""
        if all((project, number) in self.rows for number in ALL):
            self.delete(project, ALL)
        else:
            self.ingest(project, ALL)

    def attempts(self) -> set[tuple[JobId, int]]:
        return {(job.id, job.attempt) for job in jobs_of(self.engine)}

    async def held(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        attempt = asyncio.create_task(work)
        while not (attempt.done() or self.faulty_other.is_held):  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.0005)
        return attempt

    def happen(self, event: Event, project: str) -> None:
        happenings: dict[str, Callable[[], None]] = {
            "run": lambda: self.run(index_all(self.container)),
            "delete": lambda: self.delete(project, event.numbers),
            "return": lambda: self.ingest(project, event.numbers),
            "lapse": self.let_leases_lapse,
            "overtake": self.overtake,
            "die": lambda: self.die_in_a_job(event.when),
            "fail": lambda: self.fail_in_a_job(event.when),
            "cancel": self.cancel_the_newest_job,
            "retry": self.retry_what_failed,
            "repair": self.repair,
            "queue a repair": lambda: self.run(self.container.jobs().verify(repair=True)),
            "die in a repair": lambda: self.die_in_a_repair(event.when),
            "lose": lambda: self.lose_a_vector(event.numbers[0]),
            "delete project": lambda: self.delete_project(project),
        }
        happenings[event.name]()

    # --- what users do ---

    def ingest(self, project: str, numbers: Sequence[int]) -> None:
        self.run(self.container.ingestion().accept(project, [make_item(number) for number in numbers]))
        self.rows |= {(project, number) for number in numbers}
        self.projects.add(project)

    def delete(self, project: str, numbers: Sequence[int]) -> None:
        if project in self.projects:
            ids = [extraction_id_of(project_id_of(project), make_item(number)) for number in numbers]
            self.run(self.container.extractions().delete_batch(project, ids))
            self.rows -= {(project, number) for number in numbers}
            self.deleted |= {str(id_) for id_ in ids}

    def delete_project(self, project: str) -> None:
        if project in self.projects:
            self.delete(project, ALL)
            self.run(self.container.projects().delete(project))
            self.projects.remove(project)

    def cancel_the_newest_job(self) -> None:
        if jobs := jobs_of(self.engine):
            with suppress(JobStateConflict):
                self.run(self.container.jobs().cancel(jobs[-1].id))

    def retry_what_failed(self) -> None:
        for job in jobs_of(self.engine):
            if job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
                with suppress(JobStateConflict):
                    self.run(self.container.jobs().retry(job.id))

    def repair(self) -> None:
        self.run(_last(self.container, repair=True))

    # --- what goes wrong ---

    def die_in_a_job(self, when: When) -> None:
        self.faulty.die(when)
        with suppress(Died):
            self.run(_unsettled(self.engine, self.container))
        self.faulty.go_on()

    def fail_in_a_job(self, when: When) -> None:
        self.faulty.refuse(when)
        with suppress(QdrantError):
            self.run(self.container.worker().run_one())
        self.faulty.go_on()

    def die_in_a_repair(self, when: When) -> None:
        """End the process in a repair that isn't a job, so it isn't resumed."""
        self.faulty.die(when)
        try:
            self.repair()
        except Died:
            self.doubtful |= self.ids() | self.deleted
        self.faulty.go_on()

    def let_leases_lapse(self) -> None:
        with writing(self.engine) as session:
            LeaseRepository(session).expire_all()

    def overtake(self) -> None:
        """Run the jobs in which the other process stalls."""
        self.let_leases_lapse()
        self.run(index_all(self.container))

    def lose_a_vector(self, number: int) -> None:
        if ids := sorted(self.ids()):
            lost = ids[number % len(ids)]
            self.client.delete([lost])
            self.doubtful.add(lost)

    # --- what holds ---

    def ids(self) -> set[str]:
        return {
            str(extraction_id_of(project_id_of(project), make_item(number))) for project, number in self.rows
        }

    def points(self) -> set[str]:
        return set(self.client.scroll(None, 1_000, None)[0])

    def marks(self) -> dict[str, str | None]:
        with self.engine.connect() as connection:
            rows = connection.execute(select(Extraction.id, Extraction.embedding_id)).all()
        return {str(id_): mark for id_, mark in rows}

    def check_on_the_way(self) -> None:
        """Check that no row is lost, and that none is marked before its vector exists."""
        marks = self.marks()
        assert marks.keys() == self.ids()
        marked = {id_ for id_, mark in marks.items() if mark is not None}
        assert marked - self.deleted - self.doubtful <= self.points()

    def settle(self) -> None:
        """Retry cancelled and failed jobs, and check that the jobs have made the stores equal."""
        self.let_leases_lapse()
        with writing(self.engine) as session:
            LeaseRepository(session).sweep()
        self.retry_what_failed()
        self.run(index_all(self.container))
        self.check(self.doubtful)
        if self.doubtful:
            self.repair()
            self.doubtful = set()
            self.check()
        self.deleted = set()

    def check(self, doubtful: AbstractSet[str] = frozenset()) -> None:
        ids = self.ids()
        assert ids - doubtful <= self.points() <= ids | doubtful
        marks = {id_: mark for id_, mark in self.marks().items() if id_ not in doubtful}
        assert marks == {id_: id_ for id_ in ids - doubtful}


async def _outcome(attempt: asyncio.Task[Any]) -> None:
    await attempt


async def _unsettled(engine: Engine, container: Container) -> None:
    """Run an attempt that isn't settled, even if the handler finishes."""
    handlers = container.handlers()
    with writing(engine) as session:
        claimed = LeaseRepository(session).claim(list(handlers), limit=1, lease_s=60.0)
    for each in claimed:
        await handlers[each.type](RunningJob(each, container.database(), 60.0))


async def _last(container: Container, *, repair: bool = False) -> Differences:
    return [Differences(), *[state async for state in container.reconciliation().run(repair=repair)]][-1]
