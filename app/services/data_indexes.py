"""Data indexes, on paths in facts: the settings name them, jobs fill and empty them."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

from app.database import Database, WriteSession
from app.domain.filters import Filters
from app.domain.jobs import JobType
from app.errors import DatabaseUnavailable
from app.intake.where_text import parse_index_paths
from app.retry import GaveUp, RetryPolicy, retrying
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnfencedUnitOfWork, UnitOfWork
from app.services.storage.repositories.data_indexes import DataIndexRepository, IndexRow, IndexState
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facts import FactRepository
from app.services.storage.repositories.job import JobRepository

_PAGE = 500
_BEHIND_LONG_WRITES = RetryPolicy(total_s=60.0, first_delay_s=1.0)


@dataclass(slots=True)
class AppliedIndexes:
    """The paths whose indexes were created, dropped and kept, written as in a condition."""

    made: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The paths as a JSON object."""
        return asdict(self)


class Progress(NamedTuple):
    """How many facts of an index are done. ``total`` is None while keys are deleted, uncounted."""

    path: str
    done: int
    total: int | None


class DataIndexing:
    """Creates and drops indexes. New facts get their keys at once, stored facts by a job."""

    def __init__(self, database: Database, *, paths: Sequence[str]) -> None:
        self._database = database
        self._paths = paths

    async def apply(self) -> AppliedIndexes:
        """Create the indexes that the settings name, drop all others, and queue their jobs.

        A job ``index_data`` then fills or empties each.

        Raises:
            InvalidField: one of the paths is invalid; nothing has changed.
        """
        paths = parse_index_paths(self._paths)
        there = await self._database.read(lambda session: _there(DataIndexRepository(session)))
        if there.keys() == set(paths):  # nothing to do, so no writer has to wait for a lock
            return AppliedIndexes(kept=list(there))

        async def attempt(_left_s: float) -> AppliedIndexes:
            return await self._database.write(partial(_apply, paths=paths))

        try:
            return await retrying(_BEHIND_LONG_WRITES, attempt, retry_after=_passing)
        except GaveUp as gave_up:
            raise gave_up.__cause__ or gave_up from None

    async def carry_out(self) -> AsyncIterator[Progress]:
        """Fill and empty all indexes here and now; if interrupted, their jobs do the rest."""
        for index in await self._database.read(lambda session: DataIndexRepository(session).list()):
            async for progress in self._complete(index.number, UnfencedUnitOfWork(self._database)):
                yield progress

    async def index_data(self, job: RunningJob) -> Done:
        """The handler of ``index_data``. An attempt goes on where an interrupted one stopped."""
        progress = Progress("", 0, None)
        async for progress in self._complete(job.payload["number"], job):
            job.note_progress(done=progress.done, total=progress.total)
        return Done({"done": progress.done})

    async def _complete(self, number: int, unit: UnitOfWork) -> AsyncIterator[Progress]:
        indexes = await self._database.read(lambda session: DataIndexRepository(session).list())
        index = next((each for each in indexes if each.number == number), None)
        if index is None or index.state is IndexState.READY:
            return
        alike = [each for each in indexes if (each.state, each.filled_to) == (index.state, index.filled_to)]
        steps = self._empty(index, unit) if index.state is IndexState.DROPPING else self._fill(alike, unit)
        async for progress in steps:
            yield progress

    async def _fill(self, indexes: Sequence[IndexRow], unit: UnitOfWork) -> AsyncIterator[Progress]:
        """Fill indexes that have progressed equally far together: reading the facts takes longest.

        Each page is a transaction, so other writers wait for one page at most.
        """
        paths, numbers = ", ".join(each.path for each in indexes), {each.number for each in indexes}
        total = await self._database.read(lambda session: ExtractionRepository(session).count())
        done, more = 0, True
        while more:
            facts, more = await unit.save(partial(_fill_page, numbers=numbers))
            done += facts
            yield Progress(paths, done, max(done, total))

    async def _empty(self, index: IndexRow, unit: UnitOfWork) -> AsyncIterator[Progress]:
        done, more = 0, True
        while more:
            some = await unit.save(lambda session: DataIndexRepository(session).delete_some_keys(index.number))
            done, more = done + some, some > 0
            yield Progress(index.path, done, None)


def _apply(session: WriteSession, paths: Sequence[str]) -> AppliedIndexes:
    indexes, jobs = DataIndexRepository(session), JobRepository(session)
    indexes.lock()
    there = _there(indexes)
    applied = AppliedIndexes(kept=[path for path in there if path in paths])
    for path, number in there.items():
        if path not in paths:
            indexes.set_state(number, IndexState.DROPPING)
            applied.dropped.append(path)
            _queue(jobs, number)
    for path in paths:
        if path not in there:
            _queue(jobs, indexes.create(path))
            applied.made.append(path)
    return applied


def _there(indexes: DataIndexRepository) -> dict[str, int]:
    """The numbers of the indexes that aren't being dropped, by path."""
    return {row.path: row.number for row in indexes.list() if row.state is not IndexState.DROPPING}


def _queue(jobs: JobRepository, number: int) -> None:
    jobs.create(JobType.INDEX_DATA, {"number": number})


def _passing(error: Exception) -> float | None:
    """Retry at once if the database is unavailable: a long write transaction holds it up."""
    return 0.0 if isinstance(error, DatabaseUnavailable) else None


def _fill_page(session: WriteSession, numbers: Collection[int]) -> tuple[int, bool]:
    """Write the keys of the next facts by id; return their number, and whether more may follow.

    It fills the indexes that are furthest behind; when no facts are left, they are ready. If two
    processes fill the same indexes, one waits for the other's page, and goes on after it.
    """
    repository = DataIndexRepository(session)
    filling = repository.lock_of(numbers, IndexState.FILLING)
    if not filling:
        return 0, False
    after = min((each.filled_to for each in filling), key=lambda to: "" if to is None else str(to))
    indexes = [each for each in filling if each.filled_to == after]
    ids = ExtractionRepository(session).list_ids(Filters(), after=after, limit=_PAGE)
    FactRepository(session).lock(ids)
    for some in repository.iter_facts(ids):
        repository.rewrite(some, indexes)
    state = IndexState.FILLING if ids else IndexState.READY
    for index in indexes:
        repository.set_state(index.number, state, ids[-1] if ids else None)
    return len(ids), bool(ids) or len(indexes) < len(filling)
